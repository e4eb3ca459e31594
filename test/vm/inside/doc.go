// Package inside has the tests that only make sense in the virtual machine of package vm: they drive conex-runtime on a
// machine with cgroup v2 alone, AppArmor, and a CRIU that fits the kernel.
package inside
