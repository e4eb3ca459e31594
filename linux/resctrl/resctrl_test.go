package resctrl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// fake is a directory that looks like resctrl with L3 and MB: no machine of ours has the real one.
func fake(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"info/L3", "info/MB", "mon_groups", "shared/mon_groups"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/info/last_cmd_status", []byte("ok\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOwnClass(t *testing.T) {
	root := fake(t)
	g, err := New(root, "c1", &specs.LinuxIntelRdt{L3CacheSchema: "L3:0=ff", MemBwSchema: "MB:0=20", Schemata: []string{"L2:0=f"}})
	if err != nil || !g.Made || g.Mon != "" {
		t.Fatalf("%+v, %v", g, err)
	}
	if got := content(t, root+"/c1/schemata"); got != "L3:0=ff\nMB:0=20\nL2:0=f\n" {
		t.Errorf("schemata %q", got)
	}
	if err := g.Add(77); err != nil || content(t, root+"/c1/tasks") != "77" {
		t.Errorf("tasks: %v", err)
	}
	if err := g.Update("", "MB:0=30"); err != nil || content(t, root+"/c1/schemata") != "MB:0=30\n" {
		t.Errorf("update: %v", err)
	}
	for _, name := range []string{"schemata", "tasks"} { // the kernel's directories are empty to rmdir(2)
		_ = os.Remove(root + "/c1/" + name)
	}
	if err := g.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/c1"); err == nil {
		t.Error("the class is left")
	}
}

func TestSharedClass(t *testing.T) {
	root := fake(t)
	g, err := New(root, "c1", &specs.LinuxIntelRdt{ClosID: "shared", EnableMonitoring: true})
	if err != nil || g.Made || g.Mon != root+"/shared/mon_groups/c1" {
		t.Fatalf("%+v, %v", g, err)
	}
	if err := g.Add(5); err != nil || content(t, g.Mon+"/tasks") != "5" || content(t, root+"/shared/tasks") != "5" {
		t.Errorf("tasks: %v", err)
	}
	_ = os.Remove(g.Mon + "/tasks")
	if err := g.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/shared"); err != nil {
		t.Error("somebody else's class was removed")
	}
	if _, err := os.Stat(g.Mon); err == nil {
		t.Error("the monitoring group is left")
	}
	if _, err := New(root, "c1", &specs.LinuxIntelRdt{ClosID: "new", Schemata: []string{"L3:0=f"}}); err != nil {
		t.Errorf("a class that is not there, with schemata: %v", err)
	}
}

func TestRefused(t *testing.T) {
	root := fake(t)
	if err := os.Remove(root + "/info/MB"); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]specs.LinuxIntelRdt{
		"ClosID":          {ClosID: "../x"},
		"ClosID \"..\"":   {ClosID: ".."},
		"must be one":     {L3CacheSchema: "L3:0=f\nMB:0=9"},
		"Intel RDT/MBA":   {MemBwSchema: "MB:0=20"},
		"not accessible":  {ClosID: "nosuch"},
		"last_cmd_status": {EnableMonitoring: true}, // a fresh class of the fake has no mon_groups
	} {
		if _, err := New(root, "c1", &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want ...%s...", c, err, want)
		}
		if _, err := os.Stat(root + "/c1"); err == nil {
			t.Errorf("%+v: a class is left", c)
		}
	}
	if _, err := Find(); err == nil {
		t.Skip("NOT RUN: this machine has resctrl")
	} else if errdefs.Of(err) != errdefs.ErrFailedPrecondition {
		t.Errorf("without resctrl: %v", err)
	}
}

func TestFindMount(t *testing.T) {
	const table = "22 1 0:20 / /sys rw - sysfs sysfs rw\n23 22 0:30 / /mnt/rdt rw,relatime shared:3 - resctrl resctrl rw,cdp\n"
	if got := findMount(table); got != "/mnt/rdt" {
		t.Errorf("got %q", got)
	}
}
