package security

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// While a layer is unpacked somebody swaps its directories for links to the host (CVE-2025-47290 of containerd: it took
// the same path twice). Nobody but root gets there, so the racer here is more than an attacker has: it sees every
// snapshot from the outside, and swaps as fast as one processor can.
//
// The guards: manager/layer's lookups by openat2(2), and that everything is made and owned by descriptor.
func TestUnpackRace(t *testing.T) {
	e, _ := start(t)
	s := newStall(t)
	host, intact := canary(t)
	var items []item
	for i := range 1500 {
		d := fmt.Sprint("d", i%3)
		items = append(items, dir(d+"/"), file(fmt.Sprintf("%s/f%d", d, i), "evil"), file(d+"/canary", "evil"), hardlink(fmt.Sprintf("%s/h%d", d, i), d+"/canary"),
			file(fmt.Sprintf("%s/.wh.w%d", d, i), ""))
	}
	bin, evil := base(t), archive(t, items...)
	var over atomic.Bool
	var swaps atomic.Int64
	var racer sync.WaitGroup
	racer.Go(func() {
		for !over.Load() {
			found, _ := filepath.Glob(e.DataRoot + "/snapshot/*/*/fs/d?")
			for _, d := range found {
				link := filepath.Dir(filepath.Dir(d)) + "/link"
				if unix.Symlink(host, link) != nil {
					continue
				}
				for range 20 { // there and back: a pull may come through
					if unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, d, unix.RENAME_EXCHANGE) == nil {
						swaps.Add(1)
						_ = unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, d, unix.RENAME_EXCHANGE)
					}
				}
				_ = os.RemoveAll(link)
				time.Sleep(time.Millisecond)
			}
		}
	})
	took := 0
	for i := range 12 {
		ref := s.offer(t, fmt.Sprint("race", i), goods{layers: [][]byte{bin, append(archive(t, file(fmt.Sprint("n", i), "x"))[:1024:1024], evil...)}})
		if e.Docker("pull", "-q", ref).Code == 0 {
			took++
		}
		e.Docker("rmi", "-f", ref)
		e.Docker("image", "prune", "-f").OK() // downloads that the failure interrupted
	}
	over.Store(true)
	racer.Wait()
	t.Logf("%d swaps, %d of 12 pulls came through", swaps.Load(), took)
	if swaps.Load() < 500 {
		t.Errorf("only %d swaps: the race was not run", swaps.Load())
	}
	intact()
}

// A container swaps a directory for a link to the host while it is committed and exported: what is written into the image
// is the container's own, never the host's (attack I16; runs of `docker diff` and `export` walk the same tree).
func TestCommitRace(t *testing.T) {
	e, busybox := start(t)
	host := t.TempDir()
	if err := os.WriteFile(host+"/secret", []byte("of-the-host"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Docker("run", "-d", "--name", "racer", busybox, "sh", "-c",
		"mkdir /d; echo own > /d/secret; ln -s "+host+" /l; while :; do mv /d /e; mv /l /d; mv /d /l; mv /e /d; done").OK()
	saw := map[string]int{}
	for i := range 40 {
		ref := fmt.Sprint("raced:", i)
		verb := []string{"commit", "-p=false", "racer", ref}
		if r := e.Docker(verb...); r.Code == 0 {
			out := e.Docker("run", "--rm", ref, "sh", "-c", "cat /d/secret /e/secret 2>/dev/null; ls -l / | grep -c -- '->'; true").OK().Out
			if strings.Contains(out, "of-the-host") {
				t.Fatal("the image has a file of the host")
			}
			if strings.Contains(out, "own") {
				saw["whole"]++
			} else {
				saw["torn"]++
			}
			e.Docker("rmi", "-f", ref).OK()
		}
		if out := e.Docker("export", "racer").Out; strings.Contains(out, "of-the-host") {
			t.Fatal("the export has a file of the host")
		}
		e.Docker("diff", "racer")
	}
	t.Logf("commits: %v", saw)
	if saw["whole"]+saw["torn"] < 20 {
		t.Errorf("few commits came through: %v", saw)
	}
}
