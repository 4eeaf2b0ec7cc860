// Package image owns images: their records, who may see them, and their bytes (OpenStack's Glance).
//
// # What is where
//
// image.go has the noun and its life cycle, service.go the reading verbs, records.go and members.go the writing ones, upload.go the way
// of the bytes, recover.go what start-up mends, queries.go and filter.go the room's SQL (tables images and image_*; nobody else reads them),
// store.go the Store interface, dirstore.go the one on a local directory. api/ is Glance v2 on top; nothing here knows HTTP.
//
// # Bytes and rows
//
// A row is the truth; bytes exist only for a row. An upload takes the row from queued to saving under a fresh upload id (so exactly one
// uploader wins), streams into a part named by image and upload id, makes it durable, inspects it, publishes it under the image's id
// and then takes the row to active if the upload id is still its own. Death at any line leaves a part, or published bytes of a row that is
// not active: Recover puts this node's rows back to queued and removes bytes that no row owns. Deleting marks the row first and removes bytes
// after; what that leaves behind is removed by Recover too. Deleted rows stay, so that an id is never used twice.
//
// Memory is constant per upload (a few buffers of 1 MiB), whatever the image's size.
//
// # Goroutines
//
// An upload runs on its caller's goroutine and owns two hashing goroutines that end before it returns. Nothing else is started here.
//
// # Never here
//
// HTTP, knowledge of hosts or servers, a qemu-img run. Locations (URLs where bytes lie) are never shown or taken from users.
package image
