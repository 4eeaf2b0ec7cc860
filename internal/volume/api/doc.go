// Package api is Cinder v3 (microversions 3.0 to 3.71) on top of package volume: the route table, the bodies' schemas, the views.
//
// routes.go is the table; volumes.go, actions.go, snapshots.go, types.go, attachments.go and admin.go have its handlers; views.go makes
// the answers in their newest form and holds the ledger that takes away what older microversions must not see.
//
// Left out, and answered with 501: backups, transfers, groups, QoS specs, encryption, volume migration, revert, reimage, upload of a
// volume to the image service. Their lists are empty, so that clients that look at everything live.
//
// Nothing here reads tables or knows hosts beyond what the room tells.
package api
