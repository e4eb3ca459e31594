package docker

import "net/http"

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
	head = http.MethodHead

	first = 24   // in the API since the oldest version that Conex speaks
	whole = true // runs to its end when the client goes away
	view  = false
)

// routes is the table of all endpoints. Within one method and first element literal paths come before patterns,
// and {name...} rows with a suffix before those without.
func (s *Server) routes() []route {
	r := func(method, path string, h handler, since int, whole bool) route {
		return route{method: method, path: path, handle: h, since: since, whole: whole}
	}
	table := []route{
		// System
		r(get, "/_ping", s.servePingError, first, view),
		r(head, "/_ping", s.servePingError, first, view),
		r(get, "/version", s.version, first, view),
		r(get, "/info", s.info, first, view),
		r(get, "/events", s.events, first, view),
		r(get, "/system/df", s.diskUsage, 25, view),
		r(post, "/auth", s.login, first, view),
		r(get, "/plugins", s.plugins, 25, view),
		r(get, "/plugins/{name...}/json", s.plugin, 25, view),

		// Containers
		r(get, "/containers/json", s.containerList, first, view),
		r(post, "/containers/create", s.containerCreate, first, whole),
		r(post, "/containers/prune", s.containersPrune, 25, whole),
		r(get, "/containers/{id}/json", s.containerInspect, first, view),
		r(get, "/containers/{id}/top", s.containerTop, first, view),
		r(get, "/containers/{id}/logs", s.containerLogs, first, view),
		r(get, "/containers/{id}/stats", s.containerStats, first, view),
		r(post, "/containers/{id}/start", s.containerStart, first, whole),
		r(post, "/containers/{id}/stop", s.containerStop, first, whole),
		r(post, "/containers/{id}/restart", s.containerRestart, first, whole),
		r(post, "/containers/{id}/kill", s.containerKill, first, whole),
		r(post, "/containers/{id}/pause", s.containerPause, first, whole),
		r(post, "/containers/{id}/unpause", s.containerUnpause, first, whole),
		r(post, "/containers/{id}/rename", s.containerRename, first, whole),
		r(post, "/containers/{id}/update", s.containerUpdate, first, whole),
		r(post, "/containers/{id}/wait", s.containerWait, first, view),
		r(post, "/containers/{id}/attach", s.containerAttach, first, view),
		r(get, "/containers/{id}/attach/ws", s.containerAttachWS, first, view),
		r(post, "/containers/{id}/resize", s.containerResize, first, view),
		r(del, "/containers/{id}", s.containerRemove, first, whole),
		r(del, "/containers/{id}/{name}", s.containerUnlink, first, whole),

		r(get, "/containers/{id}/changes", s.containerChanges, first, view),
		r(get, "/containers/{id}/export", s.containerExport, first, view),
		r(head, "/containers/{id}/archive", s.containerStatPath, first, view),
		r(get, "/containers/{id}/archive", s.containerArchive, first, view),
		r(put, "/containers/{id}/archive", s.containerExtract, first, view),
		r(post, "/commit", s.containerCommit, first, whole),

		// Exec
		r(post, "/containers/{id}/exec", s.execCreate, first, whole),
		r(post, "/exec/{id}/start", s.execStart, first, whole),
		r(post, "/exec/{id}/resize", s.execResize, first, view),
		r(get, "/exec/{id}/json", s.execInspect, first, view),

		// Images
		r(get, "/images/json", s.imageList, first, view),
		r(post, "/images/create", s.imageCreate, first, view),
		r(post, "/images/load", s.imageLoad, first, view),
		r(post, "/images/prune", s.imagesPrune, 25, whole),
		r(get, "/images/search", s.absent, first, view),
		r(get, "/images/get", s.imageSave, first, view),
		r(get, "/images/{name...}/json", s.imageInspect, first, view),
		r(get, "/images/{name...}/history", s.imageHistory, first, view),
		r(get, "/images/{name...}/get", s.imageSave, first, view),
		r(get, "/images/{name...}/attestations", s.imageAttestations, 55, view),
		r(post, "/images/{name...}/push", s.imagePush, first, view),
		r(post, "/images/{name...}/tag", s.imageTag, first, whole),
		r(del, "/images/{name...}", s.imageRemove, first, whole),
		r(get, "/distribution/{name...}/json", s.distribution, 30, view),

		// Conex' own
		r(get, "/conex/images/tree", s.imageTree, first, view),
		r(get, "/conex/images/{name...}/tree", s.imageTree, first, view),
		r(get, "/conex/images/{name...}/raw", s.imageRaw, first, view),
		r(get, "/conex/images/{name...}/files", s.imageFiles, first, view),
		r(get, "/conex/images/{name...}/sbom", s.imageSBOM, first, view),
		r(post, "/conex/copy", s.imageCopy, first, view),
		r(post, "/conex/containers/{id}/ports", s.containerPorts, first, whole),
		r(get, "/conex/containers/{id}/explain", s.containerExplain, first, view),
		r(post, "/conex/images/{name...}/verify", s.imageVerify, first, view),
		r(get, "/conex/registries/{name...}/check", s.registryCheck, first, view),

		// Networks
		r(get, "/networks", s.networkList, first, view),
		r(post, "/networks/create", s.networkCreate, first, whole),
		r(post, "/networks/prune", s.networksPrune, 25, whole),
		r(get, "/networks/{id}", s.networkInspect, first, view),
		r(post, "/networks/{id}/connect", s.networkConnect, first, whole),
		r(post, "/networks/{id}/disconnect", s.networkDisconnect, first, whole),
		r(del, "/networks/{id}", s.networkRemove, first, whole),

		// Volumes
		r(get, "/volumes", s.volumeList, first, view),
		r(post, "/volumes/create", s.volumeCreate, first, whole),
		r(post, "/volumes/prune", s.volumesPrune, 25, whole),
		r(get, "/volumes/{name}", s.volumeInspect, first, view),
		r(del, "/volumes/{name}", s.volumeRemove, first, whole),
	}
	for _, e := range absentEndpoints {
		table = append(table, r(e[0], e[1], s.absent, first, view))
	}
	for _, e := range swarmEndpoints {
		table = append(table, r(e[0], e[1], s.swarm, first, view))
	}
	return table
}

// absentEndpoints answer 501 with their name.
var absentEndpoints = [][2]string{
	{get, "/containers/{id}/checkpoints"},
	{post, "/containers/{id}/checkpoints"},
	{del, "/containers/{id}/checkpoints/{name}"},
	{post, "/build"},
	{post, "/build/prune"},
	{post, "/build/cancel"},
	{post, "/session"},
	{post, "/grpc"},
	{put, "/volumes/{name}"},
	{get, "/plugins/privileges"},
	{post, "/plugins/pull"},
	{post, "/plugins/create"},
	{del, "/plugins/{name...}"},
	{post, "/plugins/{name...}/enable"},
	{post, "/plugins/{name...}/disable"},
	{post, "/plugins/{name...}/upgrade"},
	{post, "/plugins/{name...}/push"},
	{post, "/plugins/{name...}/set"},
}

// swarmEndpoints answer 503 as an engine outside a swarm does.
var swarmEndpoints = [][2]string{
	{get, "/swarm"},
	{post, "/swarm/init"},
	{post, "/swarm/join"},
	{post, "/swarm/leave"},
	{post, "/swarm/update"},
	{get, "/swarm/unlockkey"},
	{post, "/swarm/unlock"},
	{get, "/nodes"},
	{get, "/nodes/{id}"},
	{del, "/nodes/{id}"},
	{post, "/nodes/{id}/update"},
	{get, "/services"},
	{post, "/services/create"},
	{get, "/services/{id}"},
	{del, "/services/{id}"},
	{post, "/services/{id}/update"},
	{get, "/services/{id}/logs"},
	{get, "/tasks"},
	{get, "/tasks/{id}"},
	{get, "/tasks/{id}/logs"},
	{get, "/secrets"},
	{post, "/secrets/create"},
	{get, "/secrets/{id}"},
	{del, "/secrets/{id}"},
	{post, "/secrets/{id}/update"},
	{get, "/configs"},
	{post, "/configs/create"},
	{get, "/configs/{id}"},
	{del, "/configs/{id}"},
	{post, "/configs/{id}/update"},
}
