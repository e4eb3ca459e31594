package container

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// BenchmarkLife is create, start, wait and delete of /bin/true.
func BenchmarkLife(b *testing.B) {
	f := newFixture(b)
	f.spec.Process.Args = []string{"/bin/true"}
	ctx := context.Background()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		o := f.options(null)
		o.ID = fmt.Sprint("b", i)
		c, err := Create(ctx, o)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Start(ctx); err != nil {
			b.Fatal(err)
		}
		reap(c.Pidfd())
		if err := c.Delete(ctx, false); err != nil {
			b.Fatal(err)
		}
	}
}
