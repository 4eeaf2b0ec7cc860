package qmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxMessage bounds one message of the peer, in bytes; the largest known reply (query-qmp-schema) is a quarter of a MiB.
const MaxMessage = 8 << 20

// MaxQueued bounds the events that one subscription holds unread.
const MaxQueued = 8192

// ErrClosed is the cause of every failure after Close.
var ErrClosed = errors.New("qmp: monitor closed")

// Error is what QEMU answers to a command it refuses.
type Error struct {
	Command string `json:"-"`
	Class   string `json:"class"` // GenericError, CommandNotFound, DeviceNotFound, DeviceNotActive, KVMMissingCap
	Desc    string `json:"desc"`
}

func (e *Error) Error() string { return fmt.Sprintf("qmp %s: %s", e.Command, e.Desc) }

// Classes of Error that callers act on.
const (
	ClassGeneric         = "GenericError"
	ClassDeviceNotFound  = "DeviceNotFound"
	ClassCommandNotFound = "CommandNotFound"
)

// IsClass says that err is a refusal of a class.
func IsClass(err error, class string) bool {
	var e *Error
	return errors.As(err, &e) && e.Class == class
}

// Version is QEMU's own, from the greeting.
type Version struct {
	Major, Minor, Micro int
	Package             string
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// Event is one asynchronous message.
type Event struct {
	Name string
	Data json.RawMessage
	At   time.Time // QEMU's clock
}

// Decode reads the event's data into v.
func (e Event) Decode(v any) error {
	if len(e.Data) == 0 {
		return nil
	}
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("qmp event %s: %w", e.Name, err)
	}
	return nil
}

type request struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// message is anything the peer sends: greeting, reply or event.
type message struct {
	QMP *struct {
		Version struct {
			QEMU struct {
				Major int `json:"major"`
				Minor int `json:"minor"`
				Micro int `json:"micro"`
			} `json:"qemu"`
			Package string `json:"package"`
		} `json:"version"`
	} `json:"QMP"`
	Return    json.RawMessage `json:"return"`
	Error     *Error          `json:"error"`
	ID        *uint64         `json:"id"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}
