package db

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// NewID is an identifier for a row of a kind that is made by the thousand: a UUID of version 7 (RFC 9562 §5.7), whose first 48 bits are the milliseconds since 1970 and whose other
// bits are random. Rows made together then lie together in every index, and a transaction that makes many touches few pages.
func NewID() string {
	id := uuid.New()
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	return id.String()
}
