package container

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
)

// ownTerminals gives a devpts to the root of the container's user namespace where the kernel (6.1 does) lets it belong
// to the namespace of the thread that makes it, not of the process that opened it.
func (b *builder) ownTerminals(t mount.Tree) error {
	uid, err := b.k.uids.Host(0)
	if err != nil {
		return err
	}
	gid, err := b.k.gids.Host(0)
	if err != nil {
		return err
	}
	for _, name := range []string{"", "ptmx"} {
		var st unix.Stat_t
		if err := unix.Fstatat(int(t), name, &st, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("stat: %w", err)
		}
		if st.Uid == uid && st.Gid == gid {
			continue
		}
		if err := unix.Fchownat(int(t), name, int(uid), int(gid), unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	return nil
}
