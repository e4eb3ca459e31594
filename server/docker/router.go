package docker

import (
	"context"
	"strings"
)

// handler serves one route. An error becomes a status (status.go) unless the answer has begun.
type handler func(ctx context.Context, w *reply, c *call) error

// route is one row of the routes table.
//
// In its path {id} stands for one element and {name...} for one or more, since image names have slashes.
type route struct {
	method string
	path   string
	handle handler
	since  int  // minor of the first API version 1.x that has it
	whole  bool // runs to its end when the client goes away

	elements []string
	wild     int // index of the {name...} element, or -1
}

// router finds routes by method and first path element; within one such group the table's order decides, so
// literal paths stand before patterns there.
type router map[string][]*route

// vars are the values of a route's pattern elements, in order. No route has more than two.
type vars [2]string

func newRouter(table []route) router {
	m := make(router, len(table))
	for i := range table {
		rt := &table[i]
		rt.elements = strings.Split(strings.TrimPrefix(rt.path, "/"), "/")
		rt.wild = -1
		for n, e := range rt.elements {
			if strings.HasSuffix(e, "...}") {
				rt.wild = n
			}
		}
		key := rt.method + " " + rt.elements[0]
		m[key] = append(m[key], rt)
	}
	return m
}

// find returns the route of a request, or nil. Empty path elements are skipped: `docker inspect /name` asks for
// /containers//name/json, which Docker redirects.
func (m router) find(method, path string) (*route, vars) {
	var buf [16]string
	elements := buf[:0]
	for rest := path; rest != ""; {
		var e string
		e, rest, _ = strings.Cut(rest, "/")
		if e != "" {
			elements = append(elements, e)
		}
	}
	if len(elements) == 0 {
		return nil, vars{}
	}
	for _, rt := range m[method+" "+elements[0]] {
		if v, ok := rt.match(elements); ok {
			return rt, v
		}
	}
	return nil, vars{}
}

func (rt *route) match(path []string) (vars, bool) {
	var v vars
	if rt.wild < 0 && len(path) != len(rt.elements) || len(path) < len(rt.elements) {
		return v, false
	}
	n, at := 0, 0
	for i, e := range rt.elements {
		switch {
		case i == rt.wild:
			end := len(path) - (len(rt.elements) - 1 - i)
			v[n] = strings.Join(path[at:end], "/")
			n, at = n+1, end
		case e[0] == '{':
			v[n] = path[at]
			n, at = n+1, at+1
		case e != path[at]:
			return v, false
		default:
			at++
		}
	}
	return v, true
}
