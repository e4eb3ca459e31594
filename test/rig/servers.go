package rig

import (
	"archive/tar"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// shell takes busybox and its names, except those that the tree has already.
func (tr *tree) shell() {
	tr.t.Helper()
	tr.copy("/bin/busybox")
	for _, name := range strings.Fields(Exec(tr.t, nil, nil, "/bin/busybox", "--list").OK().Out) {
		if name != "busybox" {
			tr.link("/bin/"+name, "busybox")
		}
	}
}

// Redis is an image of Debian's redis, with a shell; what it saves is in the volume /data.
func Redis(t testing.TB) *Image {
	t.Helper()
	tr := newTree(t)
	tr.program("/usr/bin/redis-server")
	tr.program("/usr/bin/redis-cli")
	tr.shell()
	tr.dir("/data", 0o755)
	tr.etc()
	return tr.image(map[string]any{
		"Entrypoint": []string{"/usr/bin/redis-server", "--bind", "*", "--protected-mode", "no", "--dir", "/data"}, "Cmd": []string{"--appendonly", "yes"},
		"Env": []string{searchPath}, "WorkingDir": "/data", "ExposedPorts": map[string]any{"6379/tcp": map[string]any{}}, "Volumes": map[string]any{"/data": map[string]any{}},
	})
}

// initDatabase makes the cluster at the first start, as the image that people use does.
const initDatabase = `#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb -D "$PGDATA" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
	echo "host all all all trust" >>"$PGDATA/pg_hba.conf"
fi
exec "$@"
`

// Postgres is an image of Debian's PostgreSQL, with psql and a shell; its cluster is in the volume /var/lib/postgresql/data.
func Postgres(t testing.TB) *Image {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		t.Fatalf("no /usr/lib/postgresql: apt-get install postgresql %v", err)
	}
	bin := filepath.Dir(found[0])
	home := filepath.Dir(bin)
	tr := newTree(t)
	for _, name := range []string{"postgres", "initdb", "pg_isready", "psql"} {
		tr.program(filepath.Join(bin, name))
	}
	for _, name := range []string{"plpgsql.so", "dict_snowball.so"} {
		tr.copy(filepath.Join(home, "lib", name))
	}
	share := "/usr/share/postgresql/" + filepath.Base(home)
	err = filepath.WalkDir(share, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			tr.copy(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.shell()
	tr.file("/usr/bin/entry", 0o755, []byte(initDatabase))
	tr.dir("/var/run/postgresql", 0o777)
	const data = "/var/lib/postgresql/data"
	tr.entry(&tar.Header{Typeflag: tar.TypeDir, Name: data, Mode: 0o700, Uid: 1000, Gid: 1000}, nil)
	tr.etc()
	return tr.image(map[string]any{
		"Entrypoint": []string{"/usr/bin/entry"}, "Cmd": []string{"postgres", "-c", "listen_addresses=*"}, "StopSignal": "SIGINT", "User": "alice",
		"Env": []string{searchPath + ":" + bin, "PGDATA=" + data, "PGUSER=postgres", "TZ=GMT"}, "ExposedPorts": map[string]any{"5432/tcp": map[string]any{}},
		"Volumes": map[string]any{data: map[string]any{}},
	})
}
