package cli

import (
	"errors"
	"fmt"
	"strings"
)

// parallel bounds how many requests one command has in flight.
const parallel = 50

// objectError is the failure of one of several objects.
type objectError struct {
	name string
	err  error
}

func (e *objectError) Error() string { return e.err.Error() }
func (e *objectError) Unwrap() error { return e.err }

// each runs do for all names at once, prints what it returns in the order of the names, and joins the failures.
func (s *Session) each(names []string, do func(name string) (string, error)) error {
	type result struct {
		text string
		err  error
	}
	results := make([]chan result, len(names))
	slots := make(chan struct{}, parallel)
	for i, name := range names {
		results[i] = make(chan result, 1)
		go func() {
			slots <- struct{}{}
			text, err := do(name)
			<-slots
			results[i] <- result{text, err}
		}()
	}
	var errs []error
	for i, ch := range results {
		r := <-ch
		if r.err != nil {
			errs = append(errs, &objectError{names[i], r.err})
		} else if r.text != "" {
			_, _ = fmt.Fprintln(s.Out, strings.TrimSuffix(r.text, "\n"))
		}
	}
	return errors.Join(errs...)
}

// failed lists the names in a joined error of each.
func failed(err error) []string {
	var names []string
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			var o *objectError
			if errors.As(e, &o) {
				names = append(names, o.name)
			}
		}
	}
	return names
}
