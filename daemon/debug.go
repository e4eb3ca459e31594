package daemon

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"os"

	"github.com/conex-containers/conex/daemon/audit"
)

// debug serves /debug/: audit and fsck always, Go's profiles in debug mode.
func (p *parts) debug(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/audit", p.serveAudit)
	mux.HandleFunc("POST /debug/fsck", p.serveFsck)
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (p *parts) serveAudit(w http.ResponseWriter, r *http.Request) {
	report, err := audit.Run(r.Context(), p.target, p.durable, p.volatile, &audit.Daemon{Pid: os.Getpid(), Endpoints: p.network.Endpoints})
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": err.Error()})
		return
	}
	_ = json.NewEncoder(w).Encode(report)
}
