// Package powercut proves that what nephos has answered is there after the power was cut: on a file system that forgets everything that was not synced.
//
// The file system (disk.go, mount.go) lives in the test's memory and is mounted by FUSE. Of every file and directory it has two states: what the processes see, and what is on
// the platter. An fsync of a file brings its bytes there, an fsync of a directory its names; a rename, a new file and a removal are names of a directory. Cut takes what is on
// the platter at that moment, with some of the rest if asked to, as a disk may have written it by itself.
//
// The tests run the real binary on it, cut while clients ask, start the binary on what is left, and hold every answer that came before the cut against it. They need root and
// /dev/fuse. A disk that lies about fsync shows that the tests can fail.
package powercut
