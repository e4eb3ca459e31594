package cli

import "testing"

func TestCrunUsage(t *testing.T) {
	for command, want := range map[string]string{
		"exec": "Usage: crun [OPTION...] exec CONTAINER cmd\n", "delete": "Usage: crun [OPTION...] delete CONTAINER\n",
		"mounts": "Usage: crun [OPTION...] mounts [add|remove] CONTAINER FILE\n", "list": "Usage: crun [OPTION...] list\n",
	} {
		if got := crunUsage(command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}
