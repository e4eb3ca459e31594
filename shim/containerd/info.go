package containerd

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"runtime"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/runtime/spec"
	"github.com/conex-containers/conex/shim/task"
)

// runtimeName is what containerd calls this shim.
const runtimeName = "io.containerd.conex.v2"

// Info writes an encoded RuntimeInfo: the shim and the features of the OCI runtime that the options on in name.
func Info(version string, in io.Reader, out io.Writer) error {
	input, err := io.ReadAll(io.LimitReader(in, maxInput))
	if err != nil {
		return fmt.Errorf("read stdin: %w", err)
	}
	info := &taskapi.RuntimeInfo{Name: runtimeName, Version: &taskapi.RuntimeVersion{Version: version}}
	var options wire.Any
	if err := wire.Unmarshal(input, &options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	binary := ""
	if len(input) > 0 {
		info.Options = &options
		runc, err := task.RuncOptions(&options)
		if err != nil {
			return err
		}
		binary = runc.BinaryName
	}
	features, err := featuresOf(binary)
	if err != nil {
		return err
	}
	info.Features = &wire.Any{TypeURL: taskapi.TypeFeatures, Value: features}
	_, err = out.Write(wire.Marshal(info))
	return err
}

// featuresOf is the features document of a runtime's command line, or of the built-in one.
func featuresOf(binary string) ([]byte, error) {
	if binary == "" {
		return json.Marshal(spec.Features())
	}
	document, err := exec.Command(binary, "features").Output()
	if err != nil {
		return nil, fmt.Errorf("%s features: %w", binary, err)
	}
	return document, nil
}

// Version writes what the shim is, as containerd's own shims do.
func Version(name, version string, out io.Writer) error {
	_, err := fmt.Fprintf(out, "%s:\n  Version:  %s\n  Go version: %s\n", name, version, runtime.Version())
	return err
}
