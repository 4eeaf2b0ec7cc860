package quota

// Unlimited is the limit that stops nobody.
const Unlimited int64 = -1

// defaults are the limits of a project that has none of its own, by resource (Nova's, Cinder's and Neutron's documented defaults).
var defaults = map[string]int64{
	"instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "injected_files": 5, "injected_file_content_bytes": 10240,
	"injected_file_path_bytes": 255, "key_pairs": 100, "server_groups": 10, "server_group_members": 10,

	"volumes": 10, "snapshots": 10, "gigabytes": 1000, "backups": 10, "backup_gigabytes": 1000, "per_volume_gigabytes": Unlimited, "groups": 10,

	"network": 100, "subnet": 100, "port": 500, "router": 10, "floatingip": 50, "security_group": 10, "security_group_rule": 100,
	"subnetpool": Unlimited, "rbac_policy": 10, "address_group": Unlimited,
}

// ComputeResources, VolumeResources and NetworkResources list what each service's quota API shows, in its order.
var (
	ComputeResources = []string{"instances", "cores", "ram", "metadata_items", "injected_files", "injected_file_content_bytes", "injected_file_path_bytes", "key_pairs", "server_groups", "server_group_members"}
	VolumeResources  = []string{"volumes", "snapshots", "gigabytes", "backups", "backup_gigabytes", "per_volume_gigabytes", "groups"}
	NetworkResources = []string{"network", "subnet", "subnetpool", "port", "router", "floatingip", "rbac_policy", "security_group", "security_group_rule"}
)

// Default is the limit of a resource where nothing else is set.
func Default(resource string) int64 {
	if v, ok := defaults[resource]; ok {
		return v
	}
	return Unlimited
}

// classProject is the pseudo-project whose limits are the default quota class, as changed by an operator.
const classProject = "class:default"
