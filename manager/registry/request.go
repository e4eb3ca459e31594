package registry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	attempts      = 5 // of each request, unless the Config says otherwise
	mirrorTries   = 2 // of a mirror, behind which the registry is
	mirrorPause   = 30 * time.Second
	maxBackoff    = 8 * time.Second
	maxRetryAfter = time.Minute
	maxRedirects  = 5
)

// call is one request of the API, ready to be sent several times.
type call struct {
	method string
	path   string   // below /v2/NAME/
	at     *url.URL // instead of path: an upload's Location
	header http.Header
	body   func() (io.ReadCloser, error) // nil: none
	length int64
	scope  []string // of the token
	retry  bool     // 5xx, 429 and broken connections are tried again
}

// do sends c to ep until it is answered below 300, and returns that answer, its body open. Every other end is an
// *Error or the context's.
func (r *Repository) do(ctx context.Context, ep *endpoint, c call) (*http.Response, error) {
	rounds, tries := 0, r.client.config.Attempts
	if ep.spec.mirror {
		tries = min(tries, mirrorTries)
	}
	for try := 0; ; try++ {
		resp, err := r.send(ctx, ep, c)
		if err == nil && resp.StatusCode < 300 {
			return resp, nil
		}
		if err == nil && resp.StatusCode == http.StatusUnauthorized && rounds < 2 {
			rounds++
			fail := r.failure(ep, resp)
			if again, aerr := r.authorize(ctx, ep, resp, c.scope); aerr != nil {
				return nil, aerr
			} else if again {
				try--
				continue
			}
			return nil, fail
		}
		wait := time.Duration(0)
		if err == nil {
			wait, err = retryAfter(resp), r.failure(ep, resp)
			if !retryable(resp.StatusCode) || wait > maxRetryAfter {
				return nil, err
			}
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		} else if !transient(err) {
			ep.forgetScheme()
			err = r.broken(ep, err)
			ep.rest(err)
			return nil, err
		} else {
			err = r.broken(ep, err)
		}
		if !c.retry || try+1 >= tries {
			ep.rest(err)
			return nil, err
		}
		if err := r.client.pause(ctx, try, wait); err != nil {
			return nil, err
		}
	}
}

// send sends c once and follows redirects of reads. The Authorization header goes to the endpoint itself only: another
// host, port or scheme gets the bare request (CVE-2020-15157's class).
func (r *Repository) send(ctx context.Context, ep *endpoint, c call) (*http.Response, error) {
	scheme, hc, err := ep.connect(ctx)
	if err != nil {
		return nil, err
	}
	target := c.at
	if target == nil {
		if target, err = url.Parse(scheme + "://" + ep.host + ep.spec.prefix + "/" + r.path + "/" + c.path); err != nil {
			return nil, err
		}
		if ep.spec.upward && ep.host != r.origin().host {
			target.RawQuery = strings.TrimPrefix(target.RawQuery+"&ns="+url.QueryEscape(r.domain), "&")
		}
	}
	for range maxRedirects {
		req, err := http.NewRequestWithContext(ctx, c.method, target.String(), nil)
		if err != nil {
			return nil, stripURL(err)
		}
		if c.body != nil {
			if req.Body, err = c.body(); err != nil {
				return nil, err
			}
			req.ContentLength = c.length
		}
		for k, v := range c.header {
			req.Header[k] = v
		}
		req.Header.Set("User-Agent", r.client.config.UserAgent)
		if target.Scheme == scheme && target.Host == ep.host {
			for k, v := range ep.spec.header {
				req.Header[k] = v
			}
			if err := r.sign(ctx, ep, req, c.scope); err != nil {
				return nil, err
			}
		} else if target.Scheme != "https" && (scheme == "https" || !r.client.insecure(target.Host)) {
			return nil, &redirectError{"redirected without encryption to " + target.Scheme + "://" + target.Host}
		}
		resp, err := hc.Do(req)
		if err != nil {
			return nil, stripURL(err)
		}
		if !isRedirect(resp.StatusCode) || (c.method != http.MethodGet && c.method != http.MethodHead) {
			return resp, nil
		}
		next, err := resp.Location()
		drain(resp)
		if err != nil {
			return nil, &redirectError{"redirected without a usable location"}
		}
		target = next
	}
	return nil, &redirectError{"redirected more than " + strconv.Itoa(maxRedirects) + " times"}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func retryable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the answer's Retry-After, in seconds or as a date; 0 when there is none.
func retryAfter(resp *http.Response) time.Duration {
	s := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// transient tells errors that may be gone at the next attempt from those that say what is wrong.
func transient(err error) bool {
	var dns *net.DNSError
	var refused *redirectError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &dns) && dns.IsNotFound, errors.As(err, &refused), isTLS(err):
		return false
	}
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.As(err, &network)
}

// pause waits before attempt try+1: at least what the registry asked for, else doubling with jitter.
func (c *Client) pause(ctx context.Context, try int, atLeast time.Duration) error {
	d := min(c.config.Timeouts.Backoff<<min(try, 10), maxBackoff)
	d = d/2 + rand.N(d/2+1)
	timer := time.NewTimer(max(d, atLeast))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
