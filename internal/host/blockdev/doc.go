// Package blockdev makes and keeps disks as files: the root overlay, ephemeral and swap disk of a server, and the volumes and volume
// snapshots of the file backend.
//
// # Server disks
//
// A root disk is a qcow2 overlay on a read-only base of the image cache. CreateOverlay writes the few hundred bytes of an empty
// overlay itself (overlay.go): starting qemu-img costs 10 to 20 ms, a tenth of what may pass between POST and ACTIVE. What it writes
// is checked by `qemu-img check`, `info` and `qemu-io` in the tests for sizes up to 64 TiB. All else that touches image contents
// (convert, resize of a qcow2) goes through qemu-img with a deadline, killed as a process group, with bounded memory.
//
// # Volumes
//
//	<state>/volumes/<volume id>/volume.raw
//	<state>/snapshots/<snapshot id>/snapshot.raw
//
// Volumes are sparse raw files. Raw, not qcow2: no metadata that a crash could tear, extend is ftruncate, the guest writes at the
// speed of the file system, and the whole state is visible in the file's length. A snapshot is a full copy: a reflink where the file
// system has them (xfs, btrfs: instant, shared blocks), else a copy of the allocated parts only. So a snapshot costs time and space on
// ext4, and in return depends on nothing: volume and snapshots can be deleted in any order and there is no chain to rebase. A volume
// held by a running guest is copied by the guest's own QEMU (Options.LiveCopy), which alone knows a point in time.
//
// # Crashes
//
// Everything is built under a name that starts with a dot and renamed when it is whole and on disk; a deletion renames away first.
// Whatever the line at which the process dies, a volume either is there whole or is not there, and Open sweeps what starts with a
// dot. Every operation done twice has the effect of once. SQL is the truth about which volumes should exist; List tells what does.
//
// # Ownership
//
// The package starts no goroutine that outlives a call. Store locks per volume and snapshot id, so operations on different volumes
// run side by side. The agent must be the only process that opens a Store on a directory.
//
// Never here: image download (imagecache), which guest uses what, SQL, the bus.
package blockdev
