package docker

import (
	"slices"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// legacyEvent repeats a container's or image's event in the form before 1.22, which was sent up to 1.51.
type legacyEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

// compatEvent is an event as the client's version wants it.
func compatEvent(c *call, m events.Message) any {
	if !c.before(52) || m.Type != events.ContainerEventType && m.Type != events.ImageEventType {
		return m
	}
	old := legacyEvent{Status: string(m.Action), ID: m.Actor.ID, Message: m}
	if m.Type == events.ContainerEventType {
		old.From = m.Actor.Attributes["image"]
	}
	return old
}

// legacyUsage is GET /system/df before 1.52.
type legacyUsage struct {
	LayersSize int64
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

// compatDiskUsage is the disk usage as the client's version wants it: the old shape up to 1.51, both in 1.52
// (unless verbose), the new one since.
func compatDiskUsage(c *call, u *system.DiskUsage, types []string, verbose bool) any {
	if !c.before(53) || !c.before(52) && verbose {
		return u
	}
	old := legacyUsage{}
	if slices.Contains(types, "image") {
		old.Images = []image.Summary{}
		if u.ImageUsage != nil {
			old.LayersSize = u.ImageUsage.TotalSize
			old.Images = append(old.Images, u.ImageUsage.Items...)
		}
	}
	if slices.Contains(types, "container") {
		old.Containers = []container.Summary{}
		if u.ContainerUsage != nil {
			old.Containers = append(old.Containers, u.ContainerUsage.Items...)
		}
	}
	if slices.Contains(types, "volume") {
		old.Volumes = []volume.Volume{}
		if u.VolumeUsage != nil {
			old.Volumes = append(old.Volumes, u.VolumeUsage.Items...)
		}
	}
	if slices.Contains(types, "build-cache") {
		old.BuildCache = []build.CacheRecord{}
		if u.BuildCacheUsage != nil {
			old.BuildCache = append(old.BuildCache, u.BuildCacheUsage.Items...)
		}
	}
	if c.before(52) {
		return old
	}
	return struct {
		legacyUsage
		system.DiskUsage
	}{old, *u}
}

// compatInfo is GET /info as the client's version wants it.
func compatInfo(c *call, info *system.Info) any {
	if c.before(49) {
		type commit struct{ ID, Expected string }
		old := struct {
			*system.Info
			BridgeNfIptables  bool
			BridgeNfIP6tables bool `json:"BridgeNfIp6tables"`
			ContainerdCommit  commit
			RuncCommit        commit
			InitCommit        commit
		}{Info: info}
		old.ContainerdCommit = commit{info.ContainerdCommit.ID, info.ContainerdCommit.ID}
		old.RuncCommit = commit{info.RuncCommit.ID, info.RuncCommit.ID}
		old.InitCommit = commit{info.InitCommit.ID, info.InitCommit.ID}
		return old
	}
	if c.before(50) {
		return struct {
			*system.Info
			BridgeNfIptables  bool
			BridgeNfIP6tables bool `json:"BridgeNfIp6tables"`
		}{Info: info}
	}
	return info
}
