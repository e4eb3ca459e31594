package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUnixSocketModeAndStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenUnix(path, "", 0o660)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if _, err := listenUnix(path, "", 0o660); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d,", os.Getpid())) {
		t.Errorf("a living socket was taken: %v", err)
	}
	if err := l.Close(); err != nil { // as a killed daemon leaves it: the file stays
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	again, err := listenUnix(path, "", 0o660)
	if err != nil {
		t.Fatalf("a dead socket is in the way: %v", err)
	}
	_ = again.Close()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(file, "", 0o660); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("%v", err)
	}
	if _, err := listenUnix(path, "no-such-group", 0o660); err == nil || !strings.Contains(err.Error(), "--group no-such-group") {
		t.Errorf("%v", err)
	}
}

func TestLongSocketPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	path := filepath.Join(dir, "conex.sock")
	l, err := listenUnix(path, "", 0o660)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	short, done, err := shortPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	conn, err := net.Dial("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// certificate writes a certificate that signs itself, with its key, and returns their paths.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conexd"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestTLSAsksForACertificate sees that --tlsverify lets in only who has a certificate.
func TestTLSAsksForACertificate(t *testing.T) {
	cert, key := certificate(t, t.TempDir())
	c, err := load(t, "{}", "-H", "tcp://127.0.0.1:0", "--tlsverify", "--tlscacert", cert, "--tlscert", cert, "--tlskey", key)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := listen(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = closeAll(ls, nil) }()
	go func() {
		for {
			conn, err := ls[0].Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(conn, "hi")
				_ = conn.Close()
			}()
		}
	}()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	raw, _ := os.ReadFile(cert)
	pool.AppendCertsFromPEM(raw)
	ask := func(certs ...tls.Certificate) (string, error) {
		d := tls.Dialer{Config: &tls.Config{RootCAs: pool, Certificates: certs}}
		conn, err := d.DialContext(context.Background(), "tcp", ls[0].Addr().String())
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close() }()
		b, err := io.ReadAll(conn)
		return string(b), err
	}
	if got, err := ask(pair); err != nil || got != "hi" {
		t.Errorf("with a certificate: %q %v", got, err)
	}
	if got, err := ask(); err == nil {
		t.Errorf("without a certificate: %q", got)
	}
}

func TestPidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "pid")
	remove, err := writePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("%q %v", raw, err)
	}
	remove()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
	// A pid that lives and is no conexd, as after a reboot, is no obstacle.
	if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	remove, err = writePidfile(path)
	if err != nil {
		t.Error(err)
	} else {
		remove()
	}
}

func TestInheritedNeedsSystemd(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	if _, err := inherited(""); err == nil || !strings.Contains(err.Error(), "conex.socket") {
		t.Errorf("%v", err)
	}
}
