package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// shopFile is a web server, a database and a cache, as compose files have them: the web waits for a healthy database.
const shopFile = `
services:
  web:
    image: ${NGINX}
    depends_on:
      db: {condition: service_healthy}
      cache: {condition: service_started}
    networks: {front: {}, back: {aliases: [shop.example]}}
    ports: ["80"]
    environment: {GREETING: "${GREETING}"}
    volumes: ["./site:/usr/share/nginx/html:ro"]
    restart: on-failure
  db:
    image: ${POSTGRES}
    networks: [back]
    volumes: ["rows:/var/lib/postgresql/data"]
    healthcheck: {test: ["CMD", "pg_isready", "-h", "127.0.0.1"], interval: 200ms, timeout: 5s, retries: 50}
    stop_grace_period: 5s
    ulimits: {nofile: {soft: 1024, hard: 4096}}
  cache:
    image: ${REDIS}
    networks: [back]
    tmpfs: [/data]
    labels: {tier: cache}
    sysctls: {net.core.somaxconn: 512}
  worker:
    image: ${BUSYBOX}
    command: sh -c 'trap exit TERM; i=0; while true; do echo tick $$((i=i+1)); sleep 0.1; done'
    networks: [back]
    depends_on: [cache]
    logging: {driver: json-file, options: {max-size: 1m}}
networks:
  front: {}
  back:
    driver: bridge
    internal: true
    ipam: {config: [{subnet: 10.77.0.0/24}]}
volumes:
  rows: {labels: {kept: "yes"}}
`

// Debian's docker-compose 1.29 with a web server, a database and a cache.
func TestCompose(t *testing.T) {
	e, busybox := withBusybox(t)
	r := rig.SharedRegistry(t)
	r.Push(t, "redis", "7", rig.Redis(t))
	r.Push(t, "postgres", "15", rig.Postgres(t))
	dir := t.TempDir()
	for name, text := range map[string]string{"docker-compose.yml": shopFile, "site/index.html": "the shop\n"} {
		if err := os.MkdirAll(dir+"/site", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	greeting := "hello"
	compose := func(args ...string) *rig.Result {
		t.Helper()
		env := []string{"env", "NGINX=" + r.Ref("nginx:1.25"), "POSTGRES=" + r.Ref("postgres:15"), "REDIS=" + r.Ref("redis:7"), "BUSYBOX=" + busybox, "GREETING=" + greeting,
			"docker-compose", "--no-ansi", "-p", "shop", "-f", dir + "/docker-compose.yml"}
		return e.Exec(nil, append(env, args...)...)
	}
	compose("up", "-d").OK()
	compose("ps").OK().Says("shop_web_1").Says("Up (healthy)").Says("80/tcp")
	id := func(service string) string {
		return e.Docker("ps", "-q", "--filter", "label=com.docker.compose.service="+service).OK().Trim()
	}

	// Services find each other by name and alias, across the networks that they share.
	sh := func(service, script string) *rig.Result { return compose("exec", "-T", service, "sh", "-c", script) }
	sh("worker", "wget -qO- http://web/ && wget -qO- http://shop.example/").OK().Says("the shop\nthe shop")
	sh("cache", "redis-cli -h cache set basket full && redis-cli -h shop_cache_1 get basket; cat /proc/sys/net/core/somaxconn").OK().Says("full\n512")
	sh("db", `ulimit -n; ulimit -Hn; psql -c 'create table orders (n int)' -c 'insert into orders values (42)'`).OK().Says("1024\n4096")
	address := strings.Replace(compose("port", "web", "80").OK().Trim(), "0.0.0.0", "127.0.0.1", 1)
	rig.Exec(t, nil, nil, "curl", "-sf", "http://"+address+"/").OK().Says("the shop")
	sh("worker", "exit 7").Exits(7)
	compose("top", "db").OK().Says("postgres -c listen_addresses")
	compose("logs", "--no-color", "--tail", "3", "worker").OK().Says("worker_1  | tick")
	compose("run", "--rm", "-T", "--no-deps", "-e", "WHO=me", "worker", "sh", "-c", "echo $WHO; hostname -i").OK().Says("me\n10.77.0.")

	// Unchanged, nothing is touched; changed, exactly the changed service is recreated, and the anonymous and named volumes stay.
	web, db := id("web"), id("db")
	compose("up", "-d").OK().Says("shop_web_1 is up-to-date")
	greeting = "good evening"
	compose("up", "-d").OK().Says("Recreating shop_web_1")
	if id("web") == web || id("db") != db {
		t.Errorf("web %s -> %s, db %s -> %s", web, id("web"), db, id("db"))
	}
	if got := e.Docker("inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", "shop_web_1").OK().Out; !strings.Contains(got, "GREETING=good evening\n") {
		t.Errorf("environment: %s", got)
	}
	compose("up", "-d", "--force-recreate", "--no-deps", "db").OK()
	rig.Eventually(t, 10*time.Second, "the new database has the old rows", func() bool {
		return strings.Contains(sh("db", "psql -Atc 'select n from orders'").Out, "42")
	})

	// Up and down in number; the name is all of them.
	compose("up", "-d", "--scale", "worker=3").OK()
	if got := strings.Fields(sh("cache", "nslookup -type=a worker | grep -c ^Address.*10.77").OK().Out); len(got) != 1 || got[0] != "3" {
		t.Errorf("addresses of three workers: %q", got)
	}
	compose("up", "-d", "--scale", "worker=1").OK()
	if ids := strings.Fields(id("worker")); len(ids) != 1 {
		t.Errorf("workers: %q", ids)
	}
	compose("restart", "-t", "1", "worker").OK()
	compose("stop", "-t", "2").OK()
	compose("start").OK()
	sh("worker", "wget -qO- http://web/").OK()

	compose("down").OK().Says("Removing network shop_back")
	if got := e.Docker("volume", "ls", "-q", "--filter", "label=kept=yes").OK().Trim(); got != "shop_rows" {
		t.Errorf("volumes after down: %q", got)
	}
	compose("up", "-d", "db").OK()
	rig.Eventually(t, 10*time.Second, "the rows are kept through down and up", func() bool {
		return strings.Contains(sh("db", "psql -Atc 'select n from orders'").Out, "42")
	})
	compose("down", "-v", "--rmi", "all").OK().Says("Removing volume shop_rows")
	if got := e.Docker("ps", "-aq").Trim() + e.Docker("volume", "ls", "-q").Trim() + e.Docker("network", "ls", "-q", "--filter", "type=custom").Trim(); got != "" {
		t.Errorf("after down: %q", got)
	}
}
