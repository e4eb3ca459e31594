package task

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
)

// options say how to make a container, whoever asks.
type options struct {
	shim.CreateOptions
	systemdCgroup bool
	noPivot       bool
	noNewKeyring  bool
	uid, gid      int // owner of the streams' pipes
}

// Names in a bundle of containerd.
const (
	OptionsName = "conex-options" // an encoded shim.CreateOptions, for `delete` when the shim is gone
	stateName   = "conex-state"   // the runtime's state, unless the options name a directory
)

// options reads the options of a Create call: Conex's own, or containerd's for runc.
func (s *service) options(r *taskapi.CreateTaskRequest) (*options, error) {
	o := &options{}
	if s.cfg.Containerd == nil {
		if r.Options.Type() != shim.TypeCreateOptions {
			return nil, errdefs.InvalidArgument("create options of type %q are not known", r.Options.Type())
		}
		if err := wire.Unmarshal(r.Options.Content(), &o.CreateOptions); err != nil {
			return nil, errdefs.InvalidArgument("create options: %w", err)
		}
		return o, nil
	}
	runc, err := RuncOptions(r.Options)
	if err != nil {
		return nil, err
	}
	o.Runtime, o.systemdCgroup, o.noPivot, o.noNewKeyring = runc.BinaryName, runc.SystemdCgroup, runc.NoPivotRoot, runc.NoNewKeyring
	o.uid, o.gid = int(runc.IoUID), int(runc.IoGID)
	o.Root = filepath.Join(r.Bundle, stateName)
	if runc.Root != "" {
		o.Root = filepath.Join(runc.Root, s.cfg.Namespace)
	}
	return o, os.WriteFile(filepath.Join(r.Bundle, OptionsName), wire.Marshal(&o.CreateOptions), 0o600)
}

// RuncOptions decodes containerd's options of a runtime; none are the defaults.
func RuncOptions(a *wire.Any) (o taskapi.RuncOptions, err error) {
	switch strings.TrimPrefix(a.Type(), "type.googleapis.com/") {
	case "":
	case taskapi.TypeRuncOptions:
		err = wire.Unmarshal(a.Content(), &o)
	case taskapi.TypeRuntimeOptions:
		var generic taskapi.RuntimeOptions
		if err = wire.Unmarshal(a.Content(), &generic); err == nil {
			err = readSettings(&generic, &o)
		}
	default:
		err = errdefs.InvalidArgument("type %q is not known", a.Type())
	}
	if err != nil {
		return o, errdefs.InvalidArgument("create options: %w", err)
	}
	return o, nil
}

// readSettings takes the options from containerd's TOML, in which CRI hands on those of a runtime that it does not
// know: lines of Name = value, of which only runc's names count.
func readSettings(generic *taskapi.RuntimeOptions, o *taskapi.RuncOptions) error {
	text := generic.ConfigBody
	if len(text) == 0 && generic.ConfigPath != "" {
		var err error
		if text, err = os.ReadFile(generic.ConfigPath); err != nil {
			return err
		}
	}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		number, _ := strconv.ParseUint(value, 10, 32)
		switch strings.TrimSpace(name) {
		case "BinaryName":
			o.BinaryName = value
		case "Root":
			o.Root = value
		case "ShimCgroup":
			o.ShimCgroup = value
		case "SystemdCgroup":
			o.SystemdCgroup = value == "true"
		case "NoPivotRoot":
			o.NoPivotRoot = value == "true"
		case "NoNewKeyring":
			o.NoNewKeyring = value == "true"
		case "IoUid":
			o.IoUID = uint32(number)
		case "IoGid":
			o.IoGID = uint32(number)
		}
	}
	return nil
}
