// Package configdrive writes the config drive of a server: an ISO 9660 image labelled "config-2" with the files of package metadata,
// as cloud-init, cloudbase-init and the demo guest look for it.
//
// The image carries Rock Ridge names (Linux: the exact names, lower case, long) and a Joliet tree (Windows). It is laid out in memory
// by iso9660.go in about a millisecond, since it lies on the way from POST to ACTIVE, and equal input gives equal bytes. The
// Go libraries at hand do not do that: kdomanski/iso9660 writes no Rock Ridge, so "2018-08-27" becomes "2018_08_27"; diskfs/go-diskfs
// needs a directory of temporary files and stamps the time of day. The tests read the image back with the former and mount it.
//
// A crash leaves the old image, the new one, or a temporary neighbour that the next Build replaces. No goroutine, no state. Never
// here: what the documents say (metadata), attaching the drive (hypervisor).
package configdrive
