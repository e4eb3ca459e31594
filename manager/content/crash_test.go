package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestCrash kills a process that writes blobs. What it was told is durable must be there, nothing half must be visible,
// and the ingest goes on where it was.
func TestCrash(t *testing.T) {
	if dir := os.Getenv("CONEX_CONTENT_CRASH"); dir != "" {
		crashChild(dir)
		return
	}
	dir := t.TempDir()
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "CONEX_CONTENT_CRASH="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		buf := make([]byte, 4096)
		for limit := 200 + rand.IntN(4000); told.Len() < limit; {
			n, err := out.Read(buf)
			told.Write(buf[:n])
			if err != nil {
				break
			}
		}
		_ = cmd.Process.Kill()
		_, _ = io.Copy(&told, out)
		_ = cmd.Wait()
		f := &fixture{t: t, dir: dir}
		f.open()
		lines := strings.Split(told.String(), "\n")
		for _, line := range lines[:len(lines)-1] {
			if b, err := f.Reader(t.Context(), digest.Digest(line)); err != nil {
				t.Errorf("round %d: %v", round, err)
			} else {
				_ = b.Close()
			}
		}
		n := 0
		err = f.Walk(t.Context(), func(i Info) error {
			n++
			_, err := f.ReadAll(t.Context(), i.Digest, 1<<30) // checks the digest
			return err
		})
		if err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if n < len(lines)-1 || len(f.ingests()) > 4 {
			t.Errorf("round %d: %d blobs, %d told, ingests %v", round, n, len(lines)-1, f.ingests())
		}
		_ = f.Walk(t.Context(), func(i Info) error { return f.Delete(t.Context(), i.Digest) })
		f.close()
	}
}

func crashChild(dir string) {
	t := &childT{}
	f := &fixture{t: t, dir: dir}
	f.open()
	ctx := context.Background()
	random := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for {
		var batch []string
		for i := range 3 {
			w, err := f.Writer(ctx, "slot"+strconv.Itoa(i), ocispec.Descriptor{})
			if err == nil {
				err = w.Truncate(0)
			}
			if err != nil {
				t.Fatal(err)
			}
			chunk := bytes.Repeat([]byte{byte(random.Uint32())}, 1+random.IntN(1<<17))
			_, _ = fmt.Fprint(w, random.Uint64())
			_, err = w.Write(chunk)
			batch = append(batch, w.Digest().String())
			if err = errors.Join(err, w.Commit(ctx, nil)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		fmt.Println(strings.Join(batch, "\n"))
	}
}

// childT is the testing.TB of a process that is no test.
type childT struct{ testing.TB }

func (*childT) Helper() {}
func (*childT) Fatal(a ...any) {
	fmt.Fprintln(os.Stderr, a...)
	os.Exit(1)
}

func BenchmarkWriteBytes(b *testing.B) {
	f := newFixture(b)
	for i := 0; b.Loop(); i++ {
		d, err := f.WriteBytes(context.Background(), "", fmt.Appendf(nil, "%d", i), nil)
		if err == nil {
			err = f.Sync(context.Background(), d.Digest)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPull writes eight layers of 4 MiB side by side and one Sync.
func BenchmarkPull(b *testing.B) {
	f := newFixture(b)
	layer := bytes.Repeat([]byte("0123456789abcdef"), 4<<16)
	b.SetBytes(int64(8 * len(layer)))
	for i := 0; b.Loop(); i++ {
		var wg sync.WaitGroup
		for j := range 8 {
			wg.Go(func() {
				w, err := f.Writer(context.Background(), fmt.Sprint(i, j), ocispec.Descriptor{})
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = fmt.Fprint(w, i, j)
				_, _ = w.Write(layer)
				if err := w.Commit(context.Background(), nil); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if err := f.Sync(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = f.Walk(context.Background(), func(i Info) error { return f.Delete(context.Background(), i.Digest) })
		b.StartTimer()
	}
}
