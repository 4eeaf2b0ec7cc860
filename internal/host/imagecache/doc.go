// Package imagecache keeps the images that servers of this host are made from: one download for many servers.
//
//	<dir>/<image id>        whole, verified, read-only; in the format it has in the store (an overlay only needs to know it)
//	<dir>/.<image id>.part* being fetched; Open removes what a crash left
//
// An image enters once: bytes are hashed and counted as they arrive, compared with the record's SHA-512 and size, inspected
// (diskformat: a qcow2 with a backing file never enters, whatever the store said), synced and renamed. So a file without the
// ".part" name is right, and a restart need not read it again.
//
// Who uses a base is found by looking (Options.Used lists the images that instance directories refer to), never by counting. An image
// is evicted only if no instance refers to it and nobody asked for it for Options.Grace; within that, when it is older than MaxIdle or
// when the cache is above MaxBytes, least recently used first. The agent must have written the instance's spec.json before it calls
// Get, so that Used sees a build under way.
//
// Goroutines: one per download, owned by the Cache, shared by all callers of Get for that image, ended when the last of them has
// gone away or by Close. Eviction runs in its caller's goroutine.
//
// Never here: what an image means, overlays (blockdev), the bus (the agent supplies a Source).
package imagecache
