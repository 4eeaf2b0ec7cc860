package image

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"nephos/internal/policy"
)

// Status is where an image is in its life.
type Status string

// The statuses, by Glance's names. pending_delete of Glance does not occur: a delete is final.
const (
	Queued      Status = "queued"      // a record without bytes
	Saving      Status = "saving"      // bytes are being uploaded
	Uploading   Status = "uploading"   // bytes are being, or have been, staged for an import
	Importing   Status = "importing"   // staged or remote bytes are on their way into the stores
	Active      Status = "active"      // bytes are there and checked
	Deactivated Status = "deactivated" // as active, but only an admin may read the bytes
	Killed      Status = "killed"      // given up; only deleting is left
	Deleted     Status = "deleted"
)

// moves is the whole state machine; a status is changed only by move.
var moves = map[Status][]Status{
	Queued:      {Saving, Uploading, Importing, Active, Deleted}, // Active: by a location
	Saving:      {Active, Queued, Killed, Deleted},
	Uploading:   {Importing, Queued, Deleted},
	Importing:   {Active, Queued, Deleted},
	Active:      {Deactivated, Deleted},
	Deactivated: {Active, Deleted},
	Killed:      {Deleted},
}

// CanBecome says whether the life cycle has an edge from s to next.
func (s Status) CanBecome(next Status) bool { return slices.Contains(moves[s], next) }

// HasData says whether an image in this status has bytes.
func (s Status) HasData() bool { return s == Active || s == Deactivated }

// Visibility says who besides owner and admin may see an image.
type Visibility string

// The visibilities (Glance 2.5 and later).
const (
	Public    Visibility = "public"    // everybody, in lists
	Community Visibility = "community" // everybody who knows the id; in lists only when asked for
	Shared    Visibility = "shared"    // the image's members; the default
	Private   Visibility = "private"
)

// Image is one record with its tags, properties and members. Values from the service are shared with its cache: Clone before changing one.
type Image struct {
	ID              string
	Name            string // "" and null are the same
	Owner           string // project id
	Status          Status
	Visibility      Visibility
	DiskFormat      string // "" until chosen
	ContainerFormat string
	MinDiskGiB      int64
	MinRAMMiB       int64
	Protected       bool
	Hidden          bool
	SizeBytes       int64 // meaningful when Status.HasData
	VirtualBytes    int64 // 0: unknown
	MD5             string
	HashAlgo        string // of HashValue: sha512 for all that passed through here, else what the giver of a location said
	HashValue       string // hex
	Locations       []Location
	ImportTask      string   // id of the import under way, "" if none
	Imported        bool     // an import has begun at some time: the next two are shown
	ImportingTo     []string // stores that the import under way has still to fill
	ImportFailed    []string // stores that the last import could not fill
	Tags            []string // sorted
	Properties      map[string]string
	Members         []Member // sorted by project
	CreatedAt       time.Time
	UpdatedAt       time.Time

	uploadID   string // of the upload or import that holds the row
	uploadNode string
	staged     bool // uploading only: the staged bytes are whole
}

// Clone is a deep copy.
func (i Image) Clone() Image {
	i.Tags = slices.Clone(i.Tags)
	i.Properties = maps.Clone(i.Properties)
	i.Members = slices.Clone(i.Members)
	i.Locations = slices.Clone(i.Locations)
	i.ImportingTo, i.ImportFailed = slices.Clone(i.ImportingTo), slices.Clone(i.ImportFailed)
	return i
}

// Location is a place where an image's bytes lie: a store of this cloud, or a URL elsewhere that this cloud only reads.
type Location struct {
	Store    string          // id; "" for a URL
	URL      string          // of a location that was given; a store's own is made by Service.LocationURL
	Metadata json.RawMessage // a JSON object
}

// InStore says whether a store holds the image.
func (i *Image) InStore(id string) bool {
	return slices.ContainsFunc(i.Locations, func(l Location) bool { return l.Store == id })
}

// Stores are the ids of the stores that hold the image, sorted.
func (i *Image) Stores() []string {
	var out []string
	for _, l := range i.Locations {
		if l.Store != "" {
			out = append(out, l.Store)
		}
	}
	slices.Sort(out)
	return out
}

// MemberStatus is a member project's answer to being shown an image.
type MemberStatus string

// The answers; only accepted ones list the image.
const (
	Pending  MemberStatus = "pending"
	Accepted MemberStatus = "accepted"
	Rejected MemberStatus = "rejected"
)

// Member is a project that a shared image is shown to.
type Member struct {
	ImageID   string
	Project   string
	Status    MemberStatus
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Member finds a project's membership.
func (i *Image) Member(project string) (Member, bool) {
	for _, m := range i.Members {
		if m.Project == project {
			return m, true
		}
	}
	return Member{}, false
}

// VisibleTo says whether the caller may know of the image: Glance's is_image_visible. A member of a shared image sees it by id whatever
// its answer. nil credentials mean the program itself.
func (i *Image) VisibleTo(c *policy.Credentials) bool {
	return c == nil || c.IsAdmin() || i.visibleToProject(c.ProjectID)
}

func (i *Image) visibleToProject(project string) bool {
	switch {
	case i.Visibility == Public, i.Visibility == Community:
		return true
	case project == "":
		return false
	case i.Owner == project:
		return true
	case i.Visibility == Shared:
		_, ok := i.Member(project)
		return ok
	}
	return false
}

// ownedBy says whether the caller may change the image.
func (i *Image) ownedBy(c *policy.Credentials) bool {
	return c == nil || c.IsAdmin() || i.Owner != "" && i.Owner == c.ProjectID
}

// The names that Glance knows. Anything else is refused.
var (
	DiskFormats      = []string{"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"}
	ContainerFormats = []string{"ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"}
	visibilities     = []Visibility{Public, Community, Shared, Private}
)

// Limits on what one record may hold (Glance's image_property_quota, image_tag_quota, image_member_quota, image_location_quota; lengths of its columns).
const (
	MaxProperties = 128
	MaxTags       = 128
	MaxMembers    = 128
	MaxLocations  = 10
	MaxName       = 255
	MaxText       = 65535 // bytes of a property value
)
