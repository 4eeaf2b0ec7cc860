package hostapi

// SubjectLook is where a host answers LookRequests.
func SubjectLook(host string) string { return "host." + Token(host) + ".look" }

// LookRequest asks a host about one guest. What is asked is answered; nothing of the guest changes, but for a password that is to be forgotten.
type LookRequest struct {
	ServerID       string `json:"server_id"`
	Diagnostics    bool   `json:"diagnostics,omitempty"`
	Password       bool   `json:"password,omitempty"`        // what the guest has posted to its metadata service
	ForgetPassword bool   `json:"forget_password,omitempty"` // so that the guest may post another
}

// LookReply answers a LookRequest, or Err.
type LookReply struct {
	Diagnostics *Diagnostics `json:"diagnostics,omitempty"`
	Password    string       `json:"password,omitempty"` // encrypted by the guest, as it came
	Err         string       `json:"err,omitempty"`
	Kind        ErrKind      `json:"kind,omitempty"` // ErrAbsent, ErrState; ErrHost for all else
}

// Diagnostics are a running guest's numbers, counted since its process started.
type Diagnostics struct {
	Power      PowerState       `json:"power"`
	Uptime     int64            `json:"uptime"` // seconds
	CPUs       []CPUCount       `json:"cpus"`
	Disks      []DiskCount      `json:"disks"`
	Memory     int64            `json:"memory"`   // bytes of the guest's memory
	Resident   int64            `json:"resident"` // bytes that its process holds
	Interfaces []InterfaceCount `json:"interfaces"`
	Placed     *Placed          `json:"placed,omitempty"` // nil: the host chose nothing
}

// CPUCount is one virtual processor.
type CPUCount struct {
	ID   int   `json:"id"`
	Time int64 `json:"time"` // nanoseconds that it ran
}

// DiskCount is one disk.
type DiskCount struct {
	ID            string `json:"id"`
	ReadBytes     int64  `json:"read_bytes"`
	ReadRequests  int64  `json:"read_requests"`
	WriteBytes    int64  `json:"write_bytes"`
	WriteRequests int64  `json:"write_requests"`
	Errors        int64  `json:"errors"`
}

// InterfaceCount is one network interface as its guest sees it: received is what came to the guest. It is counted by the data plane, not by the hypervisor.
type InterfaceCount struct {
	PortID    string `json:"port_id"`
	MAC       string `json:"mac"`
	RxBytes   int64  `json:"rx_bytes"`
	RxPackets int64  `json:"rx_packets"`
	RxErrors  int64  `json:"rx_errors"`
	RxDrops   int64  `json:"rx_drops"`
	TxBytes   int64  `json:"tx_bytes"`
	TxPackets int64  `json:"tx_packets"`
	TxErrors  int64  `json:"tx_errors"`
	TxDrops   int64  `json:"tx_drops"`
}
