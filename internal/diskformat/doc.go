// Package diskformat tells what a disk image really is by looking at its bytes, and whether it may be trusted with the format
// that its owner declared.
//
// Two ways in: Inspect reads a finished file at random, an Inspector is an io.Writer that is fed an upload as it passes and keeps
// only the head and the last sector. Both end in the same probes. Every read is bounded (256 KiB of head, 512 bytes of tail, 64 KiB
// of VHDX metadata), every number from a header is checked before it is used, nothing is ever opened because a header names it.
//
// Why it exists: a qcow2 or VMDK can name a file of the host as its backing or data file, and a "raw" upload that starts with a qcow2
// header becomes one as soon as some tool probes the format (CVE-2015-5163, CVE-2022-47951, CVE-2024-32498, CVE-2024-40767). So the
// image service checks at upload, and the host checks again when the bytes enter its cache.
//
// Ground level: knows no service, starts no goroutine, holds no state outside an Inspector. It never runs a program.
package diskformat
