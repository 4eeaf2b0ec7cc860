package arch

import "strings"

// ground is what knows no service. Each of its rooms is listed by itself below; all others may stand on it.
var ground = []string{"fault", "faultpoint", "db", "bus", "door", "policy", "httpapi", "workflow", "hostapi", "diskformat"}

// services are the rooms that own tables (DESIGN, section 2).
var services = []string{"identity", "image", "network", "volume", "placement", "quota", "compute"}

// rooms says for each package below internal/ what else below internal/ its non-test code may import directly. A package that is not here is
// not allowed to exist: whoever makes a room says where it stands. "x/..." is x and all below it.
var rooms = map[string][]string{
	// The ground.
	"fault":      {},
	"faultpoint": {},
	"hostapi":    {"fault"},
	"diskformat": {"fault"},
	"policy":     {"fault"},
	"db":         {"fault"},
	"bus":        {"fault"},
	"door":       {},
	"httpapi":    {"fault", "policy"},
	"workflow":   {"fault", "faultpoint", "db"},
	"scheduler":  {},
	"config":     {"scheduler"},

	// The service rooms: nouns and verbs, no HTTP. Calls go from the composed to the simple, never back.
	"identity":          {"fault", "db", "policy"},
	"quota":             {"fault", "db"},
	"placement":         {"fault", "db", "policy"},
	"image":             {"fault", "db", "policy", "quota", "workflow", "diskformat", "hostapi"},
	"image/s3store":     {"fault", "image"},
	"image/metadef":     {"fault", "db", "policy"},
	"network":           {"fault", "db", "policy", "quota", "hostapi"},
	"volume":            {"fault", "db", "policy", "quota", "hostapi", "workflow", "image"},
	"compute":           {"fault", "db", "policy", "quota", "hostapi", "workflow", "image", "network", "volume", "placement", "scheduler"},
	"compute/conductor": {"fault", "db", "policy", "quota", "hostapi", "workflow", "compute", "network", "volume", "placement", "scheduler"},

	// Their faces.
	"identity/api":  {"fault", "db", "policy", "httpapi", "identity"},
	"image/api":     {"fault", "db", "policy", "httpapi", "quota", "image", "image/metadef"},
	"network/api":   {"fault", "db", "policy", "httpapi", "quota", "network"},
	"volume/api":    {"fault", "db", "policy", "httpapi", "quota", "volume"},
	"placement/api": {"fault", "db", "policy", "httpapi", "placement"},
	"compute/api": {"fault", "db", "policy", "httpapi", "quota", "hostapi", "scheduler", "workflow", "compute", "compute/conductor", "identity", "image", "network",
		"volume", "placement"},
	"metadata": {"fault", "hostapi"},

	// The compute host: nothing of the controller but the messages.
	"host/hypervisor":      {"fault", "hostapi"},
	"host/hypervisor/qmp":  {"fault"},
	"host/hypervisor/qemu": {"fault", "hostapi", "host/hypervisor", "host/hypervisor/qmp"},
	"host/simlog":          {},
	"host/hypervisor/fake": {"fault", "hostapi", "host/hypervisor", "host/simlog"},
	"host/dataplane":       {"fault", "hostapi"},
	"host/dataplane/dhcp":  {"fault"},
	"host/dataplane/linux": {"fault", "faultpoint", "hostapi", "host/dataplane", "host/dataplane/dhcp"},
	"host/dataplane/fake":  {"fault", "hostapi", "host/dataplane"},
	"host/blockdev":        {"fault", "hostapi", "diskformat"},
	"host/imagecache":      {"fault", "hostapi", "diskformat"},
	"host/configdrive":     {"fault", "hostapi", "metadata"},
	"host/peer":            {"fault"},
	"host/agent": {"host/peer", "fault", "faultpoint", "bus", "hostapi", "metadata", "host/hypervisor", "host/dataplane", "host/blockdev", "host/imagecache",
		"host/configdrive", "host/simlog"},

	// The top.
	"app":        {"..."},
	"cli":        {"app", "config", "fault", "policy", "cli/..."},
	"cli/client": {"fault", "diskformat"},
	"cli/doctor": {"config", "fault", "db", "host/hypervisor", "host/hypervisor/qemu"}, // asks the parts that would fail later

	// For tests only; see testOnly.
	"db/dbtest":                      {"db"},
	"httpapi/bodytest":               {},
	"identity/identitytest":          {"fault", "db", "policy", "identity"},
	"host/dataplane/dataplanetest":   {"fault", "hostapi", "host/dataplane"},
	"host/hypervisor/hypervisortest": {"fault", "hostapi", "host/hypervisor"},
}

// libraries are the third-party modules that stay in one room, so that they can be changed there.
var libraries = map[string][]string{
	"modernc.org/sqlite":                 {"db"},
	"github.com/jackc/pgx/v5":            {"db", "cli/doctor"},
	"github.com/pressly/goose/v3":        {"db"},
	"github.com/minio/minio-go/v7":       {"image/s3store"},
	"github.com/nats-io":                 {"bus"},
	"github.com/vishvananda/netlink":     {"host/dataplane/linux", "cli/doctor"},
	"github.com/vishvananda/netns":       {"host/dataplane/linux", "cli/doctor"},
	"github.com/insomniacslk/dhcp":       {"host/dataplane/dhcp", "host/dataplane/linux"},
	"github.com/fernet/fernet-go":        {"identity"},
	"golang.org/x/crypto/bcrypt":         {"identity"},
	"github.com/santhosh-tekuri":         {"httpapi", "httpapi/bodytest"},
	"github.com/gophercloud/gophercloud": {"cli/..."},
	"github.com/alecthomas/kong":         {"cli/..."},
	"github.com/jedib0t/go-pretty":       {"cli/..."},
}

// stdlibOnly are rooms that import nothing outside Go's own library and this module: what they decide depends on their input alone.
var stdlibOnly = []string{"scheduler", "hostapi"}

// pure are rooms that may not even reach for clock-free I/O: no files, no network, no processes.
var pure = map[string][]string{"scheduler": {"os", "os/exec", "net", "net/http", "syscall", "database/sql", "io/fs"}}

// testOnly are packages that only tests import.
func testOnly(room string) bool { return strings.HasSuffix(room, "test") }

// badNames say nothing about what is inside.
var badNames = map[string]bool{"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "manager": true, "base": true, "misc": true}

// longFiles are Go files over maxLines, each with its reason.
var longFiles = map[string]string{}

const maxLines = 800

// matches tells whether room is pattern, or below it where pattern ends in "...".
func matches(pattern, room string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return room == strings.TrimSuffix(prefix, "/") || strings.HasPrefix(room, prefix)
	}
	return pattern == room
}

func matchesAny(patterns []string, room string) bool {
	for _, p := range patterns {
		if matches(p, room) {
			return true
		}
	}
	return false
}

// within tells whether import path is library or below it.
func within(library, path string) bool {
	return path == library || strings.HasPrefix(path, library+"/")
}
