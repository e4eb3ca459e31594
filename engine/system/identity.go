package system

import (
	"fmt"
	"os"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/base/ids"
)

// EngineID returns the id that info shows; it is made at the first start and kept at path.
func EngineID(path string) (string, error) {
	if err := atomicfile.Sweep(path); err != nil {
		return "", fmt.Errorf("engine id: %w", err)
	}
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return string(data), nil
	}
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("engine id: %w", err)
	}
	id := ids.New().String()[:32]
	id = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	return id, atomicfile.Write(path, []byte(id), 0o600, false)
}
