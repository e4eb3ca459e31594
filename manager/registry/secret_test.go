package registry

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// TestUploadElsewhere: an upload that the registry sends to another host takes no credentials there.
func TestUploadElsewhere(t *testing.T) {
	var rec recorder
	stored := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.note(r)
		if b, err := io.ReadAll(r.Body); err == nil && bytes.Equal(b, blob1) {
			stored++
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Location", elsewhere.URL+"/bucket/1?signature=x")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob1)), nil }
	if _, err := New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", user).PutBlob(t.Context(), describe(blob1), nil, open); err != nil || stored != 1 {
		t.Errorf("%d stored, %v", stored, err)
	}
	if bad := rec.leaked(""); len(bad) > 0 {
		t.Errorf("credentials went to another host: %v", bad)
	}
}

// TestTokenServerRedirects: the password for a token is for the server that the registry named, and no other.
func TestTokenServerRedirects(t *testing.T) {
	for _, creds := range []Credentials{user, {IdentityToken: password}} {
		asked := 0
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
		var srv *httptest.Server
		srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				http.Redirect(w, r, elsewhere.URL+"/token", http.StatusTemporaryRedirect)
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}))
		_, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", creds), describe(blob1))
		srv.Close()
		elsewhere.Close()
		if err == nil || asked != 0 || strings.Contains(err.Error(), password) {
			t.Errorf("%d requests elsewhere, %v", asked, err)
		}
	}
}

// TestRefreshToken: what `login` got for the password buys the tokens, in the body of a POST (distribution's token
// specification, "OAuth2"), never in a URL.
func TestRefreshToken(t *testing.T) {
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token" && r.Method == http.MethodGet: // the login
			if u, p, _ := r.BasicAuth(); u != "me" || p != password || r.URL.Query().Get("offline_token") != "true" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"token":"t0","refresh_token":"refresh-secret"}`)
		case r.URL.Path == "/token":
			if r.URL.RawQuery != "" || r.PostFormValue("grant_type") != "refresh_token" || r.PostFormValue("refresh_token") != "refresh-secret" ||
				r.PostFormValue("scope") != "repository:a:pull" || r.PostFormValue("service") != "reg" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			fmt.Fprint(w, `{"access_token":"t1"}`)
		case r.Header.Get("Authorization") != "Bearer t1":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="reg"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
		}
	}))
	defer srv.Close()
	c := New(Config{Timeouts: fast})
	refresh, err := c.Login(t.Context(), hostOf(srv.URL), user)
	if err != nil || refresh != "refresh-secret" {
		t.Fatalf("login: %q %v", refresh, err)
	}
	got, err := read(t, c.Repository(hostOf(srv.URL), "a", Credentials{IdentityToken: refresh}), describe(blob1))
	if err != nil || !bytes.Equal(got, blob1) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestNothingSecretIsSaid: whatever goes wrong, password, tokens and signatures are in no error and no log, however it is set.
func TestNothingSecretIsSaid(t *testing.T) {
	var log bytes.Buffer
	ctx := logging.Into(t.Context(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 8})))
	secrets := []string{password, base64.StdEncoding.EncodeToString([]byte("me:" + password)), "tok-secret", "sig-secret"}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	defer broken.Close()
	var srv *httptest.Server
	mode := ""
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			fmt.Fprint(w, `{"token":"tok-secret"}`)
		case r.Header.Get("Authorization") == "":
			challenge := `Bearer realm="` + srv.URL + `/token"`
			if mode == "basic" {
				challenge = `Basic realm="x"`
			}
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		case mode == "redirect":
			http.Redirect(w, r, broken.URL+"/x?signature=sig-secret", http.StatusFound)
		case mode == "upload":
			w.Header().Set("Location", broken.URL+"/x?signature=sig-secret")
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"no"}]}`)
		}
	}))
	defer srv.Close()
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob1)), nil }
	for _, mode = range []string{"basic", "bearer", "redirect", "upload"} {
		r := New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", user)
		_, err := r.Blob(ctx, describe(blob1), 0)
		if mode == "upload" {
			_, err = r.PutBlob(ctx, describe(blob1), nil, open)
		}
		if err == nil {
			t.Errorf("%s: no error", mode)
			continue
		}
		logging.From(ctx).Error("pull", "err", err)
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), log.String()} {
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s: %q is in %q", mode, secret, text)
				}
			}
		}
	}
}

// TestRetryAfter: what the registry asks for is waited for, in seconds or until a date; what nobody would wait for is an
// error at once, and says that it is a limit.
func TestRetryAfter(t *testing.T) {
	for _, form := range []string{"1", "date", "3600"} {
		var times []time.Time
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if times = append(times, time.Now()); len(times) > 1 {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
				return
			}
			after := form
			if form == "date" {
				after = time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) // whole seconds: at least one from now
			}
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		_, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", Credentials{}), describe(blob1))
		srv.Close()
		switch {
		case form == "3600":
			if !errdefs.Is(err, errdefs.ErrResourceExhausted) || len(times) != 1 {
				t.Errorf("%s: %d requests, %v", form, len(times), err)
			}
		case err != nil || len(times) != 2:
			t.Errorf("%s: %d requests, %v", form, len(times), err)
		case times[1].Sub(times[0]) < 900*time.Millisecond:
			t.Errorf("%s: asked again after %s", form, times[1].Sub(times[0]))
		}
	}
}
