package compute

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/network"
	"nephos/internal/policy"
	"nephos/internal/scheduler"
	"nephos/internal/volume"
)

// CreateRequest is a validated body of POST /servers.
type CreateRequest struct {
	RequestID      string
	Name           string
	Description    *string
	Hostname       string // as asked for (2.90); empty: from the name
	FlavorID       string
	ImageID        string // empty only with a bootable block device
	Networks       []network.Request
	NetworkMode    network.Mode
	SecurityGroups []string // names or ids
	KeyName        string
	UserData       string // base64
	Metadata       map[string]string
	Personality    []hostapi.File
	ConfigDrive    bool
	Min, Max       int
	Zone           string // "az", or "az:host[:node]" of an admin
	ForcedHost     string // 2.74 host or hypervisor_hostname
	Hints          Hints
	BlockDevices   []BlockDevice
	AdminPass      string // empty: made here
	AccessIPv4     string
	AccessIPv6     string
	DiskConfig     string
	Tags           []string
}

// Created is the answer to a CreateRequest.
type Created struct {
	Servers        []*Server
	ReservationID  string
	AdminPass      string
	SecurityGroups []string // as the request named them
}

// claimTries bounds how often a create whose claim lost a race looks again at the hosts before it leaves the search to the workflow.
const claimTries = 4

// draft is a request after its checks: everything the transaction needs, read before it.
type draft struct {
	CreateRequest
	creds     *policy.Credentials
	flavor    Flavor
	image     ImageMeta
	key       string // OpenSSH public key
	groups    []network.SecurityGroupRef
	nets      network.Plan
	forced    string
	pinned    string
	groupID   string
	devices   []BlockDevice
	rootGiB   int
	request   scheduler.Request
	volumesOn string // host of the volumes that the server boots from or attaches; "" = free choice
}

// Create checks the request in the order of states.md §1, chooses hosts, and commits servers, ports, claims and workflows in one transaction.
// When no host fits the servers are made all the same: their workflows look again, and end in ERROR with the scheduler's explanation.
func (s *Service) Create(ctx context.Context, creds *policy.Credentials, req CreateRequest) (*Created, error) {
	d, err := s.check(ctx, creds, req)
	if err != nil {
		return nil, err
	}
	out := &Created{ReservationID: "r-" + randomText(8, "abcdefghijklmnopqrstuvwxyz0123456789"), AdminPass: req.AdminPass, SecurityGroups: req.SecurityGroups}
	if out.AdminPass == "" {
		out.AdminPass = randomText(12, passAlphabet)
	}
	var full *claimLost
	for range claimTries {
		out.Servers, err = s.createOnce(ctx, d, out, true)
		if !errors.As(err, &full) {
			return out, err
		}
		if err := s.Hosts.Refresh(ctx, full.host); err != nil {
			return nil, err
		}
	}
	out.Servers, err = s.createOnce(ctx, d, out, false)
	return out, err
}

// claimLost: the snapshot said that the host has room, the rows say no.
type claimLost struct {
	host string
	err  error
}

func (c *claimLost) Error() string { return fmt.Sprintf("claim on %s: %v", c.host, c.err) }

func (s *Service) createOnce(ctx context.Context, d *draft, out *Created, place bool) ([]*Server, error) {
	count := d.Max
	var servers []*Server
	unit := map[string]int64{"instances": 1, "cores": int64(d.flavor.VCPUs), "ram": int64(d.flavor.RAMMiB)}
	if d.Min < d.Max {
		err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
			count, err = s.Quotas.Fits(ctx, tx, d.creds.ProjectID, spender(ctx, tx, d.creds.ProjectID, d.creds.UserID), unit, d.Min, d.Max)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	started := db.At(s.Clock.Now())
	var choices []scheduler.Choice
	if place {
		choices = s.Hosts.Schedule(d.request, count)
	}
	scheduled := db.At(s.Clock.Now())
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		servers = make([]*Server, 0, count)
		total := map[string]int64{}
		for k, v := range unit {
			total[k] = v * int64(count)
		}
		if err := s.Quotas.ReserveFor(ctx, tx, d.creds.ProjectID, spender(ctx, tx, d.creds.ProjectID, d.creds.UserID), total); err != nil {
			return err
		}
		if err := s.checkGroupRoom(ctx, tx, d, count); err != nil {
			return err
		}
		return s.createAll(ctx, tx, d, out, &servers, placements(choices, count, started, scheduled))
	})
	return servers, err
}

// placements turns choices into what the journal keeps of them; nil where no host was found.
func placements(choices []scheduler.Choice, count int, started, finished db.Time) []*Placed {
	out := make([]*Placed, count)
	for i := range min(count, len(choices)) {
		if choices[i].Host != "" {
			out[i] = &Placed{Host: choices[i].Host, Explain: choices[i].Explanation.String(), Started: started, Finished: finished}
		}
	}
	return out
}

// createAll writes the servers with all that they own. Rows that many requests fight for are taken in one order everywhere (quota, inventories by host,
// ports, volumes), so that on PostgreSQL creates and deletes wait for each other and never deadlock.
func (s *Service) createAll(ctx context.Context, tx *db.Tx, d *draft, out *Created, servers *[]*Server, placed []*Placed) error {
	now := s.Clock.Now()
	order := make([]int, len(placed))
	for i, p := range placed {
		sv := d.server(out, i, len(placed), now)
		if p != nil {
			sv.Host, sv.Zone = p.Host, s.Hosts.Zone(p.Host)
		}
		if err := tx.Insert(ctx, "servers", sv); err != nil {
			return err
		}
		*servers = append(*servers, sv)
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare((*servers)[a].Host, (*servers)[b].Host) })
	for _, i := range order {
		if placed[i] == nil {
			continue
		}
		if err := ClaimHost(ctx, tx, s.Hosts, (*servers)[i], placed[i].Host); err != nil {
			if fault.KindOf(err) == fault.KindNoCapacity {
				return &claimLost{placed[i].Host, err}
			}
			return err
		}
	}
	for i, sv := range *servers {
		nics, err := s.Networks.AllocatePorts(ctx, tx, network.Allocation{ServerID: sv.ID, ProjectID: sv.ProjectID, Host: sv.Host, Zone: sv.Zone,
			Hostname: sv.Hostname, SecurityGroupIDs: sv.SecurityGroups.V, Plan: d.nets})
		if err != nil {
			return err
		}
		devices, err := s.createDevices(ctx, tx, d, sv)
		if err != nil {
			return err
		}
		if err := s.Conductor.BeginBuild(ctx, tx, sv, Build{RequestID: d.RequestID, Placed: placed[i], NICs: nics, Devices: devices}); err != nil {
			return err
		}
	}
	return nil
}

// createDevices writes the block device mapping, reserves given volumes and records those to be made.
func (s *Service) createDevices(ctx context.Context, tx *db.Tx, d *draft, sv *Server) ([]BlockDevice, error) {
	var out []BlockDevice
	for _, b := range d.devices {
		b.ID, b.ServerID, b.Created = uuid.NewString(), sv.ID, sv.Created
		if b.DestinationType == "volume" {
			if b.SourceType != "volume" {
				v, err := s.Volumes.CreateForServer(ctx, tx, volume.NewForServer{ProjectID: sv.ProjectID, UserID: sv.UserID, ServerID: sv.ID, SizeGiB: b.SizeGiB,
					ImageID: b.ImageID, SnapshotID: b.SnapshotID, Type: b.VolumeType, Zone: sv.PinnedZone})
				if err != nil {
					return nil, err
				}
				b.VolumeID, b.CreatedVolume = v.ID, true
			}
			att, err := s.Volumes.Reserve(ctx, tx, volume.Reservation{VolumeID: b.VolumeID, ServerID: sv.ID, ProjectID: sv.ProjectID, Creating: b.CreatedVolume})
			if err != nil {
				return nil, err
			}
			b.AttachmentID = att
		}
		if err := tx.Insert(ctx, "block_devices", b); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// checkGroupRoom holds the server group's size against its quota.
func (s *Service) checkGroupRoom(ctx context.Context, tx *db.Tx, d *draft, count int) error {
	if d.groupID == "" {
		return nil
	}
	limit, err := s.Quotas.Limit(ctx, tx, d.creds.ProjectID, "server_group_members")
	if err != nil || limit < 0 {
		return err
	}
	// The members are counted, so two creates into one group wait for each other; checkGroup takes the same lock.
	if err := tx.Lock(ctx, "server-group:"+d.groupID); err != nil {
		return err
	}
	var n int64
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM servers WHERE group_id = ? AND deleted = FALSE`, d.groupID); err != nil {
		return err
	}
	if n+int64(count) > limit {
		return fault.Quota("Quota exceeded, too many servers in group")
	}
	return nil
}

// server makes the row of the i-th server of n.
func (d *draft) server(out *Created, i, n int, now time.Time) *Server {
	name, hostname := d.Name, d.Hostname
	if n > 1 {
		name = fmt.Sprintf("%s-%d", d.Name, i+1)
	}
	id := db.NewID()
	if hostname == "" {
		hostname = Hostname(name, id)
	}
	groups := make([]string, len(d.groups))
	for j, g := range d.groups {
		groups[j] = g.ID
	}
	t := db.At(now)
	root := "/dev/vda"
	for _, b := range d.devices {
		if b.BootIndex == 0 && b.Device != "" {
			root = b.Device
		}
	}
	return &Server{ID: id, ProjectID: d.creds.ProjectID, UserID: d.creds.UserID, Name: name, Description: d.Description, Hostname: hostname,
		VMState: Building, TaskState: Scheduling, Epoch: 1, Generation: 1, Flavor: db.AsJSON(d.flavor), FlavorID: d.flavor.ID, ImageID: d.ImageID, Image: db.AsJSON(d.image),
		KeyName: d.KeyName, PublicKey: d.key, UserData: d.UserData, AdminPass: out.AdminPass, ConfigDrive: d.ConfigDrive, Metadata: db.AsJSON(orEmpty(d.Metadata)),
		Tags: db.AsJSON(slices.Clone(d.Tags)), Hints: db.AsJSON(d.Hints), Personality: db.AsJSON(d.Personality), SecurityGroups: db.AsJSON(groups), GroupID: d.groupID,
		PinnedZone: d.pinned, ForcedHost: d.forced, ReservationID: out.ReservationID, LaunchIndex: i, AccessIPv4: d.AccessIPv4, AccessIPv6: d.AccessIPv6,
		DiskConfig: d.DiskConfig, RootDevice: root, Created: t, Updated: t}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

var notHostname = regexp.MustCompile(`[^a-zA-Z0-9.-]+`)

// Hostname makes a name fit for DNS from a display name as Nova does: other characters become dashes or go, at most 63; what is
// left empty is Server-<uuid>.
func Hostname(name, id string) string {
	h := strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(name), " ", "-"), "_", "-")
	h = strings.ToLower(strings.ReplaceAll(notHostname.ReplaceAllString(h, ""), ".", "-"))
	h = strings.Trim(h, "-")
	if len(h) > 63 {
		h = strings.Trim(h[:63], "-")
	}
	if h == "" {
		return "Server-" + id
	}
	return h
}

// passAlphabet has no characters that are taken for one another.
const passAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"

func randomText(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails (crypto/rand)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// decodeUserData checks the base64.
func decodeUserData(text string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(text))
	if err != nil {
		return nil, fault.Invalid("user_data", "User data needs to be valid base 64: user_data")
	}
	return b, nil
}
