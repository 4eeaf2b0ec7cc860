package compute

import (
	"strings"
	"time"

	"nephos/internal/db"
)

// Notification is the envelope of a versioned notification (oslo.messaging), as Nova sends it.
type Notification struct {
	EventType   string `json:"event_type"`
	Priority    string `json:"priority"`
	PublisherID string `json:"publisher_id"`
	MessageID   string `json:"message_id"`
	Timestamp   string `json:"timestamp"`
	Payload     object `json:"payload"`
}

// object is a versioned object of Nova on the wire.
type object struct {
	Name      string `json:"nova_object.name"`
	Namespace string `json:"nova_object.namespace"`
	Version   string `json:"nova_object.version"`
	Data      any    `json:"nova_object.data"`
}

func novaObject(name, version string, data any) object { return object{name, "nova", version, data} }

// instancePayload are the fields of Nova's InstanceActionPayload that exist here. Times are RFC 3339; nil: not yet, or none.
type instancePayload struct {
	UUID               string            `json:"uuid"`
	UserID             string            `json:"user_id"`
	TenantID           string            `json:"tenant_id"`
	ReservationID      string            `json:"reservation_id"`
	DisplayName        string            `json:"display_name"`
	DisplayDescription *string           `json:"display_description"`
	HostName           string            `json:"host_name"`
	Host               *string           `json:"host"`
	Node               *string           `json:"node"`
	AvailabilityZone   *string           `json:"availability_zone"`
	Flavor             object            `json:"flavor"`
	ImageUUID          string            `json:"image_uuid"`
	KeyName            *string           `json:"key_name"`
	CreatedAt          *string           `json:"created_at"`
	LaunchedAt         *string           `json:"launched_at"`
	UpdatedAt          *string           `json:"updated_at"`
	TerminatedAt       *string           `json:"terminated_at"`
	DeletedAt          *string           `json:"deleted_at"`
	State              VMState           `json:"state"`
	TaskState          *string           `json:"task_state"`
	PowerState         string            `json:"power_state"`
	Metadata           map[string]string `json:"metadata"`
	Locked             bool              `json:"locked"`
	AutoDiskConfig     string            `json:"auto_disk_config"`
	Fault              *object           `json:"fault"`
	RequestID          *string           `json:"request_id"`
	ActionUser         string            `json:"action_initiator_user"`
	ActionProject      string            `json:"action_initiator_project"`
}

type flavorPayload struct {
	FlavorID    string            `json:"flavorid"`
	Name        string            `json:"name"`
	MemoryMB    int               `json:"memory_mb"`
	VCPUs       int               `json:"vcpus"`
	RootGB      int               `json:"root_gb"`
	EphemeralGB int               `json:"ephemeral_gb"`
	Swap        int               `json:"swap"`
	ExtraSpecs  map[string]string `json:"extra_specs"`
}

type faultPayload struct {
	Message  string `json:"exception_message"`
	Function string `json:"function_name"`
	Module   string `json:"module_name"`
}

func textOr(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func timeOr(t db.Time) *string {
	if t.Time.IsZero() || t.Time.UnixMicro() == 0 {
		return nil
	}
	return textOr(t.Time.UTC().Format(time.RFC3339))
}

// payloadOf shows a server as the payload of an event; user and request are of the operation that it tells of.
func payloadOf(event, user, request string, s *Server) object {
	f := s.Flavor.V
	p := instancePayload{UUID: s.ID, UserID: s.UserID, TenantID: s.ProjectID, ReservationID: s.ReservationID, DisplayName: s.Name, DisplayDescription: s.Description, HostName: s.Hostname,
		Host: textOr(s.Host), Node: textOr(s.Host), AvailabilityZone: textOr(s.Zone), ImageUUID: s.ImageID, KeyName: textOr(s.KeyName), CreatedAt: timeOr(s.Created), LaunchedAt: timeOr(s.Launched),
		UpdatedAt: timeOr(s.Updated), TerminatedAt: timeOr(s.Terminated), State: s.VMState, TaskState: textOr(string(s.TaskState)), PowerState: powerName(int(s.PowerState)), Metadata: s.Metadata.V,
		Locked: s.Locked, AutoDiskConfig: s.DiskConfig, RequestID: textOr(request), ActionUser: user, ActionProject: s.ProjectID,
		Flavor: novaObject("FlavorPayload", "1.4", flavorPayload{FlavorID: s.FlavorID, Name: f.Name, MemoryMB: f.RAMMiB, VCPUs: f.VCPUs, RootGB: f.RootGiB, EphemeralGB: f.EphemeralGiB, Swap: f.SwapMiB, ExtraSpecs: f.ExtraSpecs})}
	if s.Deleted {
		p.DeletedAt = p.UpdatedAt
	}
	if s.Fault.V != nil && strings.HasSuffix(event, ".error") {
		x := novaObject("ExceptionPayload", "1.1", faultPayload{Message: s.Fault.V.Message, Function: event, Module: "nephos"})
		p.Fault = &x
	}
	name, version := "InstanceActionPayload", "1.8"
	switch {
	case strings.HasPrefix(event, "instance.create."):
		name, version = "InstanceCreatePayload", "1.12"
	case event == "instance.update":
		name, version = "InstanceUpdatePayload", "1.9"
	}
	return novaObject(name, version, p)
}

// powerName is Nova's word for a power state.
func powerName(state int) string {
	switch state {
	case 1:
		return "running"
	case 3:
		return "paused"
	case 4:
		return "shutdown"
	case 6:
		return "crashed"
	case 7:
		return "suspended"
	}
	return "pending"
}
