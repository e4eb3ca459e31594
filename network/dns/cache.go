package dns

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// The cache's bounds: answers, seconds that an answer is kept at most, bytes of one answer.
const (
	maxAnswers   = 2048
	maxKept      = 300
	maxAnswerLen = 4096
)

// cache remembers resolvers' answers as long as they may be remembered.
type cache struct {
	mu      sync.Mutex
	answers map[string]kept
}

type kept struct {
	msg  *dns.Msg
	from time.Time
	till time.Time
}

// keyOf tells questions apart whose answers may differ: by who is asked, and by what the asker understands.
func keyOf(q *dns.Msg, network string, up Upstream, container string) string {
	if !up.Inside {
		container = "" // the host's resolvers say the same to all
	}
	do := false
	if opt := q.IsEdns0(); opt != nil {
		do = opt.Do()
	}
	question := q.Question[0]
	return fmt.Sprint(strings.ToLower(question.Name), question.Qtype, question.Qclass, network, do, q.CheckingDisabled, q.RecursionDesired, q.IsEdns0() != nil, up.Servers, container)
}

// get returns a remembered answer to q, with what is left of its time.
func (c *cache) get(key string, q *dns.Msg) *dns.Msg {
	now := time.Now()
	c.mu.Lock()
	k, ok := c.answers[key]
	c.mu.Unlock()
	if !ok || now.After(k.till) {
		return nil
	}
	a := k.msg.Copy()
	a.Id, a.Question = q.Id, q.Question
	age := uint32(now.Sub(k.from) / time.Second)
	for _, section := range [][]dns.RR{a.Answer, a.Ns, a.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return a
}

// put remembers an answer for the shortest time that any of its records may be.
func (c *cache) put(key string, a *dns.Msg) {
	if a.Truncated || a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError || a.Len() > maxAnswerLen {
		return
	}
	least := uint32(maxKept)
	records := 0
	for _, section := range [][]dns.RR{a.Answer, a.Ns} {
		for _, rr := range section {
			records++
			least = min(least, rr.Header().Ttl)
			if soa, ok := rr.(*dns.SOA); ok && len(a.Answer) == 0 {
				least = min(least, soa.Minttl) // RFC 2308 section 5
			}
		}
	}
	if least == 0 || records == 0 {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = map[string]kept{}
	}
	for old := range c.answers { // any one makes room
		if len(c.answers) < maxAnswers {
			break
		}
		delete(c.answers, old)
	}
	c.answers[key] = kept{msg: a.Copy(), from: now, till: now.Add(time.Duration(least) * time.Second)}
}
