package container

import (
	"slices"
	"strings"
	"sync"

	"github.com/conex-containers/conex/base/errdefs"
)

// index finds containers by id, unique prefix of the id, and name. Names are reserved before a container exists.
type index struct {
	mu     sync.RWMutex
	byID   map[string]*Container
	byName map[string]string // name -> id
}

func newIndex() *index {
	return &index{byID: map[string]*Container{}, byName: map[string]string{}}
}

// reserve takes a name for an id; a taken one is Docker's conflict.
func (x *index) reserve(name, id string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if holder, ok := x.byName[name]; ok {
		return errdefs.Conflict(`Conflict. The container name "/%s" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.`, name, holder)
	}
	x.byName[name] = id
	return nil
}

func (x *index) release(name, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byName[name] == id {
		delete(x.byName, name)
	}
}

func (x *index) add(c *Container) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[c.id()] = c
}

func (x *index) remove(c *Container) {
	name := c.name()
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, c.id())
	if x.byName[name] == c.id() {
		delete(x.byName, name)
	}
}

func (x *index) get(id string) *Container {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byID[id]
}

// find resolves what a client wrote: full id, then name, then unique prefix.
func (x *index) find(ref string) (*Container, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c, ok := x.byID[ref]; ok {
		return c, nil
	}
	if id, ok := x.byName[strings.TrimPrefix(ref, "/")]; ok && x.byID[id] != nil {
		return x.byID[id], nil
	}
	if ref == "" {
		return nil, errdefs.InvalidArgument("prefix can't be empty")
	}
	var found *Container
	for id, c := range x.byID {
		if strings.HasPrefix(id, ref) {
			if found != nil {
				return nil, errdefs.InvalidArgument("multiple IDs found with provided prefix: %s", ref)
			}
			found = c
		}
	}
	if found == nil {
		return nil, errdefs.NotFound("No such container: %s", ref)
	}
	return found, nil
}

// all lists the containers, newest first.
func (x *index) all() []*Container {
	x.mu.RLock()
	out := make([]*Container, 0, len(x.byID))
	for _, c := range x.byID {
		out = append(out, c)
	}
	x.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Container) int { return b.created.Compare(a.created) })
	return out
}
