package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// budget is what one binary may link, weigh and do before main.
type budget struct {
	binary string
	never  []string // import path prefixes that may not be linked
	bytes  int64    // size of the stripped file
	// initBytes is what all package initialisers together may allocate (GODEBUG=inittrace=1): unlike a clock it is the
	// same on every machine, and it grows with every table of regexps that somebody links.
	initBytes int64
}

var heavy = []string{"google.golang.org/grpc", "k8s.io/", "go.etcd.io/bbolt", "github.com/prometheus/"}

var budgets = []budget{
	{"conex", heavy, 16 << 20, 400 << 10},
	{"conexd", []string{"google.golang.org/grpc", "k8s.io/"}, 32 << 20, 1 << 20},
	{"conex-shim", append([]string{"github.com/spf13/cobra", "google.golang.org/protobuf", "github.com/containerd/", "regexp", "net/http"}, heavy...), 6 << 20, 64 << 10},
	{"conex-runtime", append([]string{"net/http", "github.com/containerd/ttrpc"}, heavy...), 10 << 20, 300 << 10},
}

func TestBinariesLinkOnlyWhatTheyMay(t *testing.T) {
	for _, b := range budgets {
		for _, p := range list(t, module+"/cmd/"+b.binary) {
			for _, dep := range p.Deps {
				for _, never := range b.never {
					if below(dep, []string{strings.TrimSuffix(never, "/")}) {
						t.Errorf("%s links %s", b.binary, dep)
					}
				}
			}
		}
	}
}

var initLine = regexp.MustCompile(`(?m)^init \S+ @.* clock, (\d+) bytes`)

func TestBinariesStayInTheirBudget(t *testing.T) {
	for _, b := range budgets {
		path := filepath.Join("..", "..", "bin", b.binary)
		st, err := os.Stat(path)
		if err != nil {
			t.Errorf("%v: run `make` first", err)
			continue
		}
		if st.Size() > b.bytes {
			t.Errorf("%s has %d bytes, its budget is %d", b.binary, st.Size(), b.bytes)
		}
		cmd := exec.Command(path, "--version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, _ := cmd.CombinedOutput() // whatever it says of --version, it has initialised before
		sum := int64(0)
		rows := initLine.FindAllStringSubmatch(string(out), -1)
		if len(rows) == 0 {
			t.Errorf("%s printed no trace of its initialisers:\n%s", b.binary, out)
		}
		for _, m := range rows {
			n, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		if sum > b.initBytes {
			t.Errorf("%s allocates %d bytes before main, its budget is %d", b.binary, sum, b.initBytes)
		}
		t.Logf("%-14s %8d bytes, %7d bytes allocated before main", b.binary, st.Size(), sum)
	}
}

func TestBinariesAreStatic(t *testing.T) {
	for _, b := range budgets {
		out, err := exec.Command("readelf", "-ld", filepath.Join("..", "..", "bin", b.binary)).CombinedOutput()
		if err != nil {
			t.Errorf("%s: readelf: %v\n%s", b.binary, err, out)
		}
		if strings.Contains(string(out), "INTERP") || strings.Contains(string(out), "NEEDED") {
			t.Errorf("%s is not static", b.binary)
		}
	}
}
