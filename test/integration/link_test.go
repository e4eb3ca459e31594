package integration

import (
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// Legacy links bring names and variables, follow a restarted container, and can be removed alone.
func TestLegacyLinks(t *testing.T) {
	e, busybox := withBusybox(t)
	each(t, e, func(t *testing.T, e *rig.Engine, name string, cli command) {
		db, web := "db"+name, "web"+name
		cli("run", "-d", "--name", db, "--expose", "5432", "-e", "LANG=C", busybox, "sleep", "1000").OK()
		cli("run", "-d", "--name", web, "--link", db+":store", busybox, "sleep", "1000").OK()
		ip := func() string {
			return cli("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", db).OK().Trim()
		}
		first := ip()
		host := cli("inspect", "-f", "{{.Config.Hostname}}", db).OK().Trim()
		cli("exec", web, "cat", "/etc/hosts").OK().Says(first + "\tstore " + host + " " + db + "\n")
		cli("exec", web, "ping", "-c1", "-W5", "store").OK()
		env := cli("exec", web, "env").OK().Out
		for _, want := range []string{"STORE_PORT=tcp://" + first + ":5432", "STORE_PORT_5432_TCP_ADDR=" + first, "STORE_NAME=/" + web + "/store", "STORE_ENV_LANG=C"} {
			if !strings.Contains("\n"+env, "\n"+want+"\n") {
				t.Errorf("no %s in\n%s", want, env)
			}
		}
		if got := cli("inspect", "-f", "{{json .HostConfig.Links}}", web).OK().Trim(); got != `["/`+db+`:/`+web+`/store"]` {
			t.Errorf("links %s", got)
		}
		e.Docker("ps", "--no-trunc", "--filter", "name="+db, "--format", "{{.Names}}").OK().Says(db + "," + web + "/store")
		cli("stop", "-t0", db).OK()
		cli("restart", "-t0", web).Exits(1).Says("Cannot link to a non running container: /" + db + " AS /" + web + "/store")
		cli("run", "-d", "--name", "other"+name, busybox, "sleep", "1000").OK() // may take the address
		cli("start", db).OK()
		cli("start", web).OK()
		cli("restart", "-t0", db).OK()
		cli("exec", web, "cat", "/etc/hosts").OK().Says(ip() + "\tstore ")
		cli("rename", db, "re"+db).OK()
		cli("inspect", "-f", "{{json .HostConfig.Links}}", web).OK().Says("/re" + db + ":/" + web + "/store")
		cli("rm", "--link", web+"/store").OK()
		cli("inspect", "-f", "{{json .HostConfig.Links}}", web).OK().Says("[]")
		if out := cli("exec", web, "cat", "/etc/hosts").OK().Out; strings.Contains(out, "store") {
			t.Errorf("hosts still:\n%s", out)
		}
		cli("run", "--rm", "--link", "nobody"+name, busybox, "true").Exits(125).Says("could not get container for nobody" + name)
		cli("run", "--rm", "--net", "host", "--link", "re"+db, busybox, "true").Exits(125).Says("can't be used with links")
		cli("network", "create", "n"+name).OK()
		cli("run", "-d", "--name", "in"+name, "--net", "n"+name, busybox, "sleep", "1000").OK()
		cli("run", "--rm", "--net", "n"+name, "--link", "in"+name+":alias", busybox, "ping", "-c1", "-W5", "alias").OK()
	})
}
