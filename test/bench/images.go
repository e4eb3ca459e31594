package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// imageRounds bounds the rounds of the rows of images, which take seconds each.
const imageRounds = 5

// imageRig is what the rows of images work with. Rows are made before it is filled.
type imageRig struct {
	dir    string
	count  int // images of the row image-ls
	sample *sample
	source *registry // has the sample's images
	target *registry // of one push; new and empty, or with the sample's layers
}

func (r *imageRig) end() {
	for _, reg := range []*registry{r.source, r.target} {
		if reg != nil {
			reg.end()
		}
	}
}

// moving measures the rows of images.
func (b *bench) moving(rows []row) error {
	sample, err := filepath.Abs(b.sample)
	if err != nil {
		return err
	}
	b.images.dir = filepath.Join(b.dir, "images")
	if err := os.Mkdir(b.images.dir, 0o755); err != nil {
		return err
	}
	if b.images.sample, err = makeSample(sample); err != nil {
		return fmt.Errorf("images: sample: %w", err)
	}
	if b.images.source, err = serveRegistry(b.images.sample.dir, b.images.dir); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	if err := b.ramDisk(); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	engines, err := b.need("conex", "docker/dockerd", "podman+crun", "ctr+runc", "skopeo", "curl")
	if err != nil {
		return err
	}
	b.n, b.images.count = min(b.n, imageRounds), b.count
	return b.interleave(rows, engines, "docker/dockerd")
}

// diskBytes is the size of the data roots' disk; memory is taken for what lies in it.
const diskBytes = 12 << 30

// ramDisk moves the data roots to a new ext4 with a journal, in memory: what a disk does meanwhile for others, and what
// was deleted on it before, is in no figure. (An ext4 without a journal does not use an inode again for a minute, and
// looks at each of them for every new file.)
func (b *bench) ramDisk() error {
	b.stop()
	disk := b.dir + "/run/disk"
	b.roots = b.dir + "/disk"
	f, err := os.Create(disk)
	if err == nil {
		err = errors.Join(f.Truncate(diskBytes), f.Close(), os.Mkdir(b.roots, 0o755))
	}
	if err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk},
		{"mount", "-o", "loop,discard", disk, b.roots},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", argv, err, out)
		}
	}
	return nil
}

func (r *imageRig) name() string { return r.source.addr + "/" + sampleName + ":1" }

// sh is a step of the shell; $E stands for the engine's command line.
func sh(e *engine, format string, a ...any) step {
	return step{argv: []string{"/bin/sh", "-c", "E='" + strings.Join(e.cli, " ") + "'\n" + fmt.Sprintf(format, a...)}}
}

// synced is a pause until nothing is to be written any more, so that no engine writes what another one left.
var synced = step{between: func() error { return exec.Command("sync").Run() }}

func (r *imageRig) pull(e *engine, name string) string {
	switch {
	case e.ctr:
		return "$E image pull --plain-http " + name
	case e.name == "podman+crun":
		return "$E pull -q --tls-verify=false " + name
	}
	return "$E pull -q " + name
}

func (r *imageRig) push(e *engine, name string) string {
	switch {
	case e.ctr:
		return "$E image push --plain-http " + name
	case e.name == "podman+crun":
		return "$E push -q --tls-verify=false " + name
	}
	return "$E push -q " + name
}

func (r *imageRig) remove(e *engine, name string) string {
	if e.ctr {
		return "$E image rm --sync " + name
	}
	return "$E rmi -f " + name
}

func (r *imageRig) tag(e *engine, from, to string) string {
	if e.ctr {
		return "$E image tag --force " + from + " " + to
	}
	return "$E tag " + from + " " + to
}

// has brings the image when it is not there.
func (r *imageRig) has(e *engine) step { return sh(e, "%s >/dev/null", r.pull(e, r.name())) }

// gone removes the image, which may not be there.
func (r *imageRig) gone(e *engine) step {
	return sh(e, "%s >/dev/null 2>&1 || true", r.remove(e, r.name()))
}

// engines leaves the tools out.
func engines(f func(*engine) []step) func(*engine) []step {
	return func(e *engine) []step {
		if e.name == "skopeo" || e.name == "curl" {
			return nil
		}
		return f(e)
	}
}

// blobs is a shell loop's list of the sample's layers.
func (r *imageRig) blobs() string {
	var list []string
	for _, l := range r.sample.layers {
		list = append(list, "http://"+r.source.addr+"/v2/"+sampleName+"/blobs/"+l.Digest.String())
	}
	return strings.Join(list, " ")
}

// scratch is a new empty directory of e.
func (r *imageRig) scratch(e *engine) step {
	return sh(e, "rm -rf --one-file-system %[1]s; mkdir -p %[1]s", r.out(e))
}

func (r *imageRig) out(e *engine) string { return filepath.Join(r.dir, e.group) }

// empty starts the target registry anew, with what copyOf has, if anything: blobs are linked, not copied.
func (r *imageRig) empty(copyOf string) step {
	return step{between: func() error {
		data := filepath.Join(r.dir, "target")
		err := os.RemoveAll(data)
		if err == nil && copyOf != "" {
			err = linked(copyOf, data)
		}
		if err == nil {
			r.target, err = serveRegistry(data, r.dir)
		}
		return err
	}}
}

// linked copies a registry's storage; only what it writes in place is copied in truth.
func linked(from, to string) error {
	const root = "docker/registry/v2"
	script := fmt.Sprintf("mkdir -p %[2]s/%[3]s && cp -al %[1]s/%[3]s/blobs %[2]s/%[3]s && cp -a %[1]s/%[3]s/repositories %[2]s/%[3]s", from, to, root)
	if out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// closed ends the target registry.
func (r *imageRig) closed() step {
	return step{between: func() error {
		r.target.end()
		r.target = nil
		return os.RemoveAll(filepath.Join(r.dir, "target"))
	}}
}

// targeted tags the image for the target registry, which is known only then.
func (r *imageRig) targeted(e *engine, from string) step {
	return step{between: func() error {
		_, err := sh(e, "%s", r.tag(e, from, r.target.addr+"/"+sampleName+":1")).take(e)
		return err
	}}
}

// untargeted takes the tag away.
func (r *imageRig) untargeted(e *engine) step {
	return sh(e, "%s >/dev/null", r.remove(e, r.target.addr+"/"+sampleName+":1"))
}

func imageRows(r *imageRig) []row {
	return append(append(r.registryRows(), r.storeRows()...), r.listRow())
}

// registryRows are those that talk to a registry.
func (r *imageRig) registryRows() []row {
	pushing := func(e *engine) []step {
		return []step{sh(e, "%s >/dev/null", r.push(e, r.target.addr+"/"+sampleName+":1"))}
	}
	return []row{
		{name: "image-pull", watched: true, before: func(e *engine) []step {
			if e.cli == nil || e.name == "skopeo" {
				return []step{r.scratch(e), synced}
			}
			return []step{r.gone(e), synced}
		}, command: func(e *engine) []step {
			switch e.name {
			case "skopeo": // unpacks nothing
				return []step{sh(e, "$E copy -q --src-tls-verify=false docker://%s oci:%s/image", r.name(), r.out(e))}
			case "curl": // verifies nothing, two layers at a time
				return []step{sh(e, "cd %s && echo %s | tr ' ' '\\n' | xargs -P 2 -I @ sh -c 'd=$(mktemp -d -p .) && curl -sf @ | gzip -d | tar x -C $d'", r.out(e), r.blobs())}
			}
			return []step{sh(e, "%s >/dev/null", r.pull(e, r.name()))}
		}},
		{name: "image-fetch", before: func(e *engine) []step { return []step{r.scratch(e), synced} }, command: func(e *engine) []step {
			if e.name != "curl" {
				return nil // only the blobs, to files: the least that a pull can take
			}
			return []step{sh(e, "cd %s && curl -sf --parallel --remote-name-all %s", r.out(e), r.blobs())}
		}},
		{name: "image-pull-20", watched: true, before: engines(func(e *engine) []step {
			return []step{r.gone(e), synced, {between: func() error { _, err := r.source.fetches(); return err }}}
		}), command: engines(func(e *engine) []step {
			return []step{sh(e, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do %s >/dev/null & p=\"$p $!\"; done; for i in $p; do wait $i || exit 1; done", r.pull(e, r.name()))}
		}), after: func(e *engine) []step {
			return []step{{between: func() error {
				n, err := r.source.fetches()
				fmt.Fprintf(os.Stderr, "image-pull-20: %s: %d requests for %d blobs\n", e.name, n, sampleLayers+1)
				return err
			}}}
		}},
		{name: "image-push", watched: true, before: engines(func(e *engine) []step {
			return []step{r.has(e), r.empty(""), r.targeted(e, r.name()), synced}
		}), command: engines(func(e *engine) []step {
			if r.target == nil {
				return []step{{}} // asked only whether this engine can
			}
			return pushing(e)
		}), after: func(e *engine) []step { return []step{r.untargeted(e), r.closed()} }},
		{name: "image-commit-push", watched: true, before: func(e *engine) []step {
			return []step{r.has(e), r.changed(e), r.empty(r.sample.dir), synced}
		}, command: func(e *engine) []step {
			switch {
			case e.ctr || e.name == "skopeo" || e.name == "curl":
				return nil
			case r.target == nil:
				return []step{{}}
			}
			return append([]step{sh(e, "$E commit cc %s/%s:1 >/dev/null", r.target.addr, sampleName)}, pushing(e)...)
		}, after: func(e *engine) []step {
			return []step{sh(e, "$E rm -f cc >/dev/null"), r.untargeted(e), r.closed()}
		}},
		{name: "image-copy-1GB", watched: true, before: func(e *engine) []step { return []step{r.empty(""), r.scratch(e), synced} },
			command: r.copying, after: func(*engine) []step { return []step{r.closed()} }},
	}
}

// changed makes the container cc of the image, with a new layer of 60 MB of files in it.
func (r *imageRig) changed(e *engine) step {
	return sh(e, "set -e; $E rm -f cc >/dev/null 2>&1 || true; $E create --name cc %s x >/dev/null; "+
		"rm -rf %[2]s; mkdir -p %[2]s/new; head -c 24000000 /dev/urandom >%[2]s/new/noise; head -c 36000000 %[3]s >%[2]s/new/text; $E cp %[2]s/new cc:/ >/dev/null",
		r.name(), r.out(e), "/usr/sbin/dockerd")
}

// copying copies 1 GB from registry to registry.
func (r *imageRig) copying(e *engine) []step {
	if e.ctr || e.name == "podman+crun" || e.name == "docker/dockerd" {
		return nil
	}
	if r.target == nil {
		return []step{{}}
	}
	from, to := r.source.addr+"/"+copyName+":1", r.target.addr+"/"+copyName+":1"
	switch e.name {
	case "skopeo":
		return []step{sh(e, "$E copy -q --src-tls-verify=false --dest-tls-verify=false docker://%s docker://%s", from, to)}
	case "curl":
		return []step{r.piped(e)}
	}
	return []step{sh(e, "$E copy -q docker://%s docker://%s >/dev/null", from, to)}
}

// piped copies the gigabyte's blobs by curl, two at a time: the least that a copy can take.
func (r *imageRig) piped(e *engine) step {
	script := `at() { curl -sf -X POST -D - -o /dev/null http://%[2]s/v2/%[3]s/blobs/uploads/ | tr -d '\r' | sed -n 's/^Location: //p'; }
one() { curl -sf http://%[1]s/v2/%[3]s/blobs/$1 | curl -sf -T - -H 'Content-Type: application/octet-stream' "$(at)&digest=$1"; }
m=$(curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' http://%[1]s/v2/%[3]s/manifests/1)
n=0; for d in $(printf %%s "$m" | grep -o 'sha256:[0-9a-f]*' | sort -u); do one $d & n=$((n+1)); [ $((n%%3)) = 0 ] && wait; done; wait`
	return sh(e, script, r.source.addr, r.target.addr, copyName)
}

// storeRows are those of the store alone.
func (r *imageRig) storeRows() []row {
	file := func(e *engine) string { return r.out(e) + ".tar" }
	return []row{
		{name: "image-save", watched: true, before: func(e *engine) []step {
			clean := sh(e, "rm -f %s", file(e))
			if e.cli == nil || e.name == "skopeo" {
				return []step{clean, synced}
			}
			return []step{r.has(e), clean, synced}
		}, command: func(e *engine) []step {
			switch {
			case e.name == "curl": // cat of the blobs
				return []step{sh(e, "find %s/docker/registry/v2/blobs -size +10M -size -100M -name data | xargs cat >%s", r.sample.dir, file(e))}
			case e.name == "skopeo":
				return nil
			case e.ctr:
				return []step{sh(e, "$E image export %s %s", file(e), r.name())}
			}
			return []step{sh(e, "$E save -o %s %s", file(e), r.name())}
		}},
		{name: "image-load", watched: true, before: engines(func(e *engine) []step { return []step{r.archive(), r.gone(e), synced} }),
			command: engines(func(e *engine) []step {
				if e.ctr {
					return []step{sh(e, "$E image import %s/load.tar", r.dir)}
				}
				return []step{sh(e, "$E load -q -i %s/load.tar", r.dir)}
			})},
		{name: "image-rmi", before: engines(func(e *engine) []step { return []step{r.has(e), synced} }),
			command: engines(func(e *engine) []step { return []step{sh(e, "%s >/dev/null", r.remove(e, r.name()))} })},
	}
}

// archive makes the archive that all engines load: a docker archive with plain layers, as dockerd's `save` writes it.
func (r *imageRig) archive() step {
	return step{between: func() error {
		to := filepath.Join(r.dir, "load.tar")
		if _, err := os.Stat(to); err == nil {
			return nil
		}
		out, err := exec.Command("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "docker://"+r.name(), "docker-archive:"+to+":"+r.name()).CombinedOutput()
		if err != nil {
			return errors.Join(fmt.Errorf("skopeo: %w: %s", err, out), os.Remove(to))
		}
		return nil
	}}
}
