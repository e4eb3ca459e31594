package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// challenge is a WWW-Authenticate header (RFC 9110 section 11.6.1; distribution's token specification).
type challenge struct {
	scheme string // "basic", "bearer"
	realm  string
	service,
	scope string
}

// tokenKey tells tokens apart; the user's credentials are in it as a hash only.
type tokenKey struct {
	realm, service, scope string
	user                  [32]byte
}

type token struct {
	value  string
	expiry time.Time
}

const (
	clientID = "conex"
	// minTokenLife is how long a token without expires_in lasts (distribution's token specification: 60 s).
	minTokenLife = 60 * time.Second
	maxTokenBody = 1 << 20
	maxTokens    = 1024
)

// scopePull and scopePush name what a token allows.
func (r *Repository) scopePull() string { return "repository:" + r.path + ":pull" }
func (r *Repository) scopePush() string { return "repository:" + r.path + ":pull,push" }

// sign adds the credentials that ep asked for before; the first request to a host carries none.
func (r *Repository) sign(ctx context.Context, ep *endpoint, req *http.Request, scopes []string) error {
	ep.mu.Lock()
	ch := ep.challenge
	ep.mu.Unlock()
	creds := r.credentials(ep)
	if creds.RegistryToken != "" {
		req.Header.Set("Authorization", "Bearer "+creds.RegistryToken)
		return nil
	}
	switch {
	case ch == nil:
	case ch.scheme == "basic":
		if creds.Username != "" {
			req.SetBasicAuth(creds.Username, creds.Password)
		}
	default:
		t, err := r.token(ctx, ep, ch, scopes)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+t)
	}
	return nil
}

// authorize answers a 401: it keeps the challenge, and reports whether sending again may help.
func (r *Repository) authorize(ctx context.Context, ep *endpoint, resp *http.Response, scopes []string) (bool, error) {
	ch := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	creds := r.credentials(ep)
	if ch == nil || creds.RegistryToken != "" {
		return false, nil
	}
	if ch.scheme == "basic" {
		if resp.Request.Header.Get("Authorization") != "" || creds.Username == "" {
			return false, nil
		}
	} else {
		r.client.forgetToken(ch, scopes, creds)
	}
	ep.mu.Lock()
	ep.challenge = ch
	ep.mu.Unlock()
	if ch.scheme == "bearer" {
		if _, err := r.token(ctx, ep, ch, scopes); err != nil {
			return false, err
		}
	}
	return true, nil
}

// parseChallenges returns the strongest challenge that is understood: bearer before basic.
func parseChallenges(values []string) *challenge {
	var best *challenge
	for _, v := range values {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
		c := &challenge{scheme: strings.ToLower(scheme)}
		for key, value := range challengeParams(rest) {
			switch key {
			case "realm":
				c.realm = value
			case "service":
				c.service = value
			case "scope":
				c.scope = value
			}
		}
		if c.scheme == "bearer" && c.realm != "" {
			return c
		}
		if c.scheme == "basic" {
			best = c
		}
	}
	return best
}

// challengeParams reads key=value and key="value" pairs; what it does not understand ends it.
func challengeParams(s string) map[string]string {
	params := map[string]string{}
	for s = strings.TrimSpace(s); s != ""; {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			return params
		}
		value := ""
		if strings.HasPrefix(rest, `"`) {
			var b strings.Builder
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
				}
				b.WriteByte(rest[i])
			}
			value, rest = b.String(), rest[min(i+1, len(rest)):]
		} else {
			i := strings.IndexByte(rest, ',')
			if i < 0 {
				i = len(rest)
			}
			value, rest = rest[:i], rest[i:]
		}
		params[strings.ToLower(strings.Trim(key, " ,"))] = value
		s = strings.TrimLeft(rest, " ,")
	}
	return params
}

func (ch *challenge) key(scopes []string, creds Credentials) tokenKey {
	k := tokenKey{realm: ch.realm, service: ch.service, scope: strings.Join(scopes, " ")}
	if !creds.empty() {
		k.user = sha256.Sum256([]byte(creds.Username + "\x00" + creds.Password + "\x00" + creds.IdentityToken))
	}
	return k
}

func (c *Client) forgetToken(ch *challenge, scopes []string, creds Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tokens, ch.key(scopes, creds))
}

// token returns a bearer token for scopes, from the cache or the token server.
func (r *Repository) token(ctx context.Context, ep *endpoint, ch *challenge, scopes []string) (string, error) {
	creds := r.credentials(ep)
	key := ch.key(scopes, creds)
	r.client.mu.Lock()
	t, ok := r.client.tokens[key]
	r.client.mu.Unlock()
	if ok && time.Now().Before(t.expiry) {
		return t.value, nil
	}
	t, _, err := r.client.fetchToken(ctx, ep, ch, scopes, creds, false)
	if err != nil {
		return "", fmt.Errorf("registry %s: repository %s: %w", ep.host, r.path, err)
	}
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if len(r.client.tokens) >= maxTokens {
		clear(r.client.tokens)
	}
	r.client.tokens[key] = t
	return t.value, nil
}

// fetchToken asks the token server that the registry named. A server without TLS gets no credentials unless the
// administrator listed it as insecure: a registry must not be able to send a password into the open.
func (c *Client) fetchToken(ctx context.Context, ep *endpoint, ch *challenge, scopes []string, creds Credentials, offline bool) (token, string, error) {
	realm, err := url.Parse(ch.realm)
	if err != nil || realm.Host == "" || (realm.Scheme != "https" && realm.Scheme != "http") {
		return token{}, "", errdefs.FailedPrecondition("names no usable token server (realm)")
	}
	plain := c.insecure(realm.Host) || ep.spec.scheme == "http" && realm.Host == ep.host // as the registry itself is configured
	if realm.Scheme == "http" && !creds.empty() && !plain {
		return token{}, "", errdefs.FailedPrecondition("names the token server %s without TLS: the credentials are not sent there", realm.Host)
	}
	req, err := tokenRequest(ctx, realm, ch.service, scopes, creds, offline)
	if err != nil {
		return token{}, "", fmt.Errorf("token server %s: %w", realm.Host, stripURL(err))
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	hc := c.tokenHTTP(ep, realm.Host)
	resp, err := hc(ctx, req)
	if err != nil {
		return token{}, "", errdefs.With(errdefs.ErrUnavailable, fmt.Errorf("token server %s: %w", realm.Host, stripURL(err)))
	}
	defer drain(resp)
	return readToken(realm.Host, resp)
}

// tokenHTTP returns how to reach the token server: by its own host's certificates and rules.
func (c *Client) tokenHTTP(ep *endpoint, host string) func(context.Context, *http.Request) (*http.Response, error) {
	return func(ctx context.Context, req *http.Request) (*http.Response, error) {
		server := ep
		var err error
		if host != ep.host {
			if server, err = c.tokenServer(host); err != nil {
				return nil, err
			}
		}
		_, hc, err := server.connect(ctx)
		if err != nil {
			return nil, err
		}
		for try := 0; ; try++ {
			again := req.Clone(ctx)
			if req.GetBody != nil {
				if again.Body, err = req.GetBody(); err != nil {
					return nil, err
				}
			}
			resp, err := hc.Do(again)
			broken := err != nil && transient(err)
			if (!broken && (err != nil || !retryable(resp.StatusCode))) || try+1 >= c.config.Attempts {
				return resp, err
			}
			wait := time.Duration(0)
			if err == nil {
				wait = min(retryAfter(resp), maxRetryAfter)
				drain(resp)
			}
			if err := c.pause(ctx, try, wait); err != nil {
				return nil, err
			}
		}
	}
}

func tokenRequest(ctx context.Context, realm *url.URL, service string, scopes []string, creds Credentials, offline bool) (*http.Request, error) {
	if creds.IdentityToken != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "service": {service}, "client_id": {clientID},
			"scope": {strings.Join(scopes, " ")}, "refresh_token": {creds.IdentityToken},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	q := realm.Query()
	if service != "" {
		q.Set("service", service)
	}
	for _, s := range scopes {
		q.Add("scope", s)
	}
	if creds.Username != "" {
		q.Set("account", creds.Username)
	}
	if offline {
		q.Set("offline_token", "true")
		q.Set("client_id", clientID)
	}
	at := *realm
	at.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err == nil && creds.Username != "" {
		req.SetBasicAuth(creds.Username, creds.Password)
	}
	return req, err
}

// readToken returns the token and the refresh token, if one was given.
func readToken(host string, resp *http.Response) (token, string, error) {
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return token{}, "", errdefs.With(errdefs.ErrUnauthenticated,
			fmt.Errorf("token server %s: unauthorized: incorrect username or password, or no access", host))
	case resp.StatusCode != http.StatusOK:
		return token{}, "", errdefs.Unavailable("token server %s: HTTP %d", host, resp.StatusCode)
	}
	var body struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTokenBody)).Decode(&body); err != nil {
		return token{}, "", errdefs.Unavailable("token server %s: its answer is not JSON", host)
	}
	if body.Token == "" {
		body.Token = body.AccessToken
	}
	if body.Token == "" || strings.ContainsAny(body.Token, "\r\n") {
		return token{}, "", errdefs.Unavailable("token server %s: its answer holds no token", host)
	}
	life := min(max(time.Duration(body.ExpiresIn)*time.Second, minTokenLife), 24*time.Hour)
	return token{value: body.Token, expiry: time.Now().Add(life * 9 / 10)}, body.RefreshToken, nil
}

// Login checks creds at domain, as `docker login` asks for, and returns the refresh token that the token server gave
// in exchange for the password ("" when it gave none). Wrong ones are Unauthenticated.
func (c *Client) Login(ctx context.Context, domain string, creds Credentials) (string, error) {
	r := c.Repository(domain, "", creds)
	if r.err != nil {
		return "", r.err
	}
	ep := r.origin()
	scheme, hc, err := ep.connect(ctx)
	if err != nil {
		return "", err
	}
	ping := func(auth bool) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+ep.host+ep.spec.prefix+"/", nil)
		if err != nil {
			return nil, stripURL(err)
		}
		if auth {
			req.SetBasicAuth(creds.Username, creds.Password)
		}
		resp, err := hc.Do(req)
		if err != nil {
			return nil, errdefs.With(errdefs.ErrUnavailable, fmt.Errorf("registry %s: %w", ep.host, stripURL(err)))
		}
		return resp, nil
	}
	resp, err := ping(false)
	if err != nil {
		return "", err
	}
	drain(resp)
	if resp.StatusCode != http.StatusUnauthorized {
		return "", nil
	}
	ch := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	switch {
	case ch == nil:
		return "", errdefs.FailedPrecondition("registry %s: asks for an authentication that is not known", ep.host)
	case ch.scheme == "bearer":
		_, refresh, err := c.fetchToken(ctx, ep, ch, nil, creds, true)
		if err != nil {
			return "", fmt.Errorf("registry %s: login: %w", ep.host, err)
		}
		return refresh, nil
	}
	if resp, err = ping(true); err != nil {
		return "", err
	}
	drain(resp)
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return "", errdefs.With(errdefs.ErrUnauthenticated, fmt.Errorf("registry %s: login: unauthorized: incorrect username or password", ep.host))
	}
	return "", nil
}
