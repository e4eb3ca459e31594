package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/cli/credential"
	"github.com/conex-containers/conex/cli/launch"
	"github.com/conex-containers/conex/cli/terminal"
	"github.com/conex-containers/conex/client"
)

// Session is one call of the program: its streams, its global flags, and the client once it is needed.
type Session struct {
	Version  string // of this program
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string

	global struct {
		hosts                                []string
		config, context, logLevel            string
		tls, tlsVerify, debug, version, help bool
		caCert, cert, key                    string
	}
	client *client.Client
	raws   []*terminal.Raw
	config *credential.File
}

// globalFlags are the options before the command.
func (s *Session) globalFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("conex", pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.Usage = func() {}
	g := &s.global
	f.StringArrayVarP(&g.hosts, "host", "H", nil, "Daemon socket to connect to")
	f.StringVar(&g.config, "config", "", "Location of client config files")
	f.StringVarP(&g.context, "context", "c", "", "Only \"default\" is known: use -H to name another engine")
	f.BoolVarP(&g.debug, "debug", "D", false, "Enable debug mode")
	f.StringVarP(&g.logLevel, "log-level", "l", "info", "Accepted for compatibility; has no effect")
	f.BoolVar(&g.tls, "tls", false, "Use TLS; implied by --tlsverify")
	f.BoolVar(&g.tlsVerify, "tlsverify", false, "Use TLS and verify the remote")
	f.StringVar(&g.caCert, "tlscacert", "", "Trust certs signed only by this CA")
	f.StringVar(&g.cert, "tlscert", "", "Path to TLS certificate file")
	f.StringVar(&g.key, "tlskey", "", "Path to TLS key file")
	f.BoolVarP(&g.version, "version", "v", false, "Print version information and quit")
	f.BoolVar(&g.help, "help", false, "Print usage")
	return f
}

// Client returns the client of the engine that flags and environment name.
func (s *Session) Client() (*client.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	host, explicit, err := s.host()
	if err != nil {
		return nil, err
	}
	o := client.Options{Host: host, UserAgent: "Conex-Client/" + s.Version, Version: s.Getenv("DOCKER_API_VERSION")}
	if o.TLS, err = s.tls(); err != nil {
		return nil, err
	}
	if !explicit && os.Geteuid() == 0 {
		o.Launch = s.launch
	}
	s.client, err = client.New(o)
	return s.client, err
}

// host is where the engine is: -H, CONEX_HOST, DOCKER_HOST, else the default socket, which alone is started on demand.
func (s *Session) host() (host string, explicit bool, err error) {
	if c := s.global.context; c != "" && c != "default" {
		return "", false, fmt.Errorf("context %q: contexts are not supported: name the engine with -H or CONEX_HOST", c)
	}
	switch n := len(s.global.hosts); {
	case n > 1:
		return "", false, fmt.Errorf("specify only one -H")
	case n == 1:
		return s.global.hosts[0], true, nil
	}
	for _, v := range []string{"CONEX_HOST", "DOCKER_HOST"} {
		if h := s.Getenv(v); h != "" {
			return h, true, nil
		}
	}
	return "unix://" + launch.Socket, false, nil
}

// tls reads the certificates, when TLS is asked for by flag or by DOCKER_TLS_VERIFY.
func (s *Session) tls() (*tls.Config, error) {
	g := &s.global
	verify := g.tlsVerify || s.Getenv("DOCKER_TLS_VERIFY") != ""
	if !verify && !g.tls {
		return nil, nil
	}
	dir := s.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		dir = s.configDir()
	}
	path := func(given, name string) string {
		if given != "" {
			return given
		}
		return filepath.Join(dir, name)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !verify}
	if verify {
		pem, err := os.ReadFile(path(g.caCert, "ca.pem"))
		if err != nil {
			return nil, fmt.Errorf("could not read CA certificate: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", path(g.caCert, "ca.pem"))
		}
	}
	cert, key := path(g.cert, "cert.pem"), path(g.key, "key.pem")
	if _, err := os.Stat(cert); err == nil || g.cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

func (s *Session) configDir() string {
	if s.global.config != "" {
		return s.global.config
	}
	return credential.Dir()
}

// launch starts the default engine and says so.
func (s *Session) launch(ctx context.Context) error {
	program, err := launch.Find()
	if err != nil {
		return err
	}
	pid, err := launch.Start(ctx, launch.Engine{Program: program, Socket: launch.Socket, Log: launch.Log})
	if err != nil {
		return err
	}
	if pid != 0 {
		_, _ = fmt.Fprintf(s.Err, "conex: started the engine (conexd, pid %d, log %s)\n", pid, launch.Log)
	}
	return nil
}

// logins returns the client's config file, read once.
func (s *Session) logins() (*credential.File, error) {
	if s.config == nil {
		f, err := credential.Load(s.configDir())
		if err != nil {
			return nil, err
		}
		s.config = f
	}
	return s.config, nil
}

// inTerminal and outTerminal return the terminals that the streams are, nil when they are none.
func (s *Session) inTerminal() *os.File {
	if f, ok := s.In.(*os.File); ok && terminal.Is(f) {
		return f
	}
	return nil
}

func (s *Session) outTerminal() *os.File { return asTerminal(s.Out) }

func asTerminal(w io.Writer) *os.File {
	if f, ok := w.(*os.File); ok && terminal.Is(f) {
		return f
	}
	return nil
}

// restore gives the terminal back; it may be called often.
func (s *Session) restore() {
	for _, r := range s.raws {
		r.Restore()
	}
}

func (s *Session) close() {
	s.restore()
	if s.client != nil {
		_ = s.client.Close()
	}
}
