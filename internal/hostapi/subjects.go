package hostapi

import "strings"

// Bus subjects. Host names may hold dots, which NATS would split: Token escapes them.

var escape = strings.NewReplacer("_", "__", ".", "_d", " ", "_s", "*", "_a", ">", "_g")

// Token makes a host name or id safe as one subject token, each name another one.
func Token(s string) string { return escape.Replace(s) }

// SubjectCommand is where a host takes Commands (request → Result).
func SubjectCommand(host string) string { return "host." + Token(host) + ".command" }

// SubjectNetwork is where a host takes NetworkDocuments (request → NetworkAck).
func SubjectNetwork(host string) string { return "host." + Token(host) + ".network" }

// SubjectConsole is where a host answers ConsoleRequests.
func SubjectConsole(host string) string { return "host." + Token(host) + ".console" }

// SubjectInventory is where a host answers fsck.
func SubjectInventory(host string) string { return "host." + Token(host) + ".inventory" }

// Subjects that are not one host's.
const (
	SubjectHeartbeat    = "controller.heartbeat"     // Heartbeat; every controller listens, one (queue group) replies
	SubjectMembers      = "network.members"          // MemberChange, published to all hosts
	SubjectNetworkFetch = "controller.network.fetch" // NetworkFetch → NetworkDocument
	SubjectImageChunk   = "controller.image.chunk"   // ImageChunkRequest → raw bytes
	SubjectProgress     = "controller.progress"      // Progress, published
)

// NetworkFetch asks for the current document of a host.
type NetworkFetch struct {
	Host string `json:"host"`
}

// NetworkAck answers a pushed document.
type NetworkAck struct {
	Revision int64  `json:"revision"` // applied
	Err      string `json:"err,omitempty"`
}
