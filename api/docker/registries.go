package docker

// The words of Conex' own endpoint GET /conex/registries/{name}/check: what a pull would do, tried.

// RegistryCheck is what the engine's configuration means for a registry, and how each of its hosts answers.
type RegistryCheck struct {
	Registry   string
	Repository string         `json:",omitempty"`
	File       string         `json:",omitempty"` // its hosts.toml
	Searched   []string       `json:",omitempty"` // directories where hosts.toml was looked for, when there is none
	Error      string         `json:",omitempty"` // the configuration cannot be used
	Hosts      []RegistryHost `json:",omitempty"` // in the order in which they are asked; the registry itself comes last
	OK         bool           // what a pull needs would be answered
}

// RegistryHost is one host that is asked.
type RegistryHost struct {
	URL          string
	Mirror       bool
	Capabilities []string // pull, resolve, push
	Credentials  string   // none, client or hosts.toml
	Headers      []string `json:",omitempty"` // names
	Authorities  []string `json:",omitempty"` // files, besides the system's
	Certificates []string `json:",omitempty"` // files of the engine's own certificates
	Unverified   bool     // any certificate is taken
	Steps        []RegistryStep
	OK           bool
}

// RegistryStep is one thing that was tried. The first that fails is the last.
type RegistryStep struct {
	Name string // connect, tls, ping, auth, repository
	OK   bool
	Text string
}
