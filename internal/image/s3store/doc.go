// Package s3store keeps image bytes in a bucket of an S3-compatible object store: an image.Store by minio-go.
//
// An image is the object PREFIX<image id>; a part is PREFIX<image id>.<upload>.part, written as one multipart upload of unknown length and so invisible until it is sealed. Publish
// is a copy inside the object store. What a dead process leaves is a part, or a multipart upload that was never ended: List names both, Discard removes both.
//
// Memory is one buffer of partBytes for each upload. Each Part owns one goroutine, which ends before Seal or Close returns; an open Blob owns one of minio-go's until it
// is closed.
//
// Never here: which image has which bytes, retries beyond minio-go's own, credentials in an error.
package s3store
