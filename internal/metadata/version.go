package metadata

import "slices"

// The versions of the OpenStack tree, oldest first, as Nova names them (one per release that changed a document).
const (
	folsom      = "2012-08-10"
	grizzly     = "2013-04-04" // password, random_seed
	havana      = "2013-10-17" // vendor_data.json
	liberty     = "2015-10-15" // network_data.json, project_id
	newtonOne   = "2016-06-30" // devices, keys
	newtonTwo   = "2016-10-06" // vendor_data2.json
	ocata       = "2017-02-22" // devices' vlan
	rocky       = "2018-08-27" // devices' vf_trusted
	victoria    = "2020-10-14" // dedicated_cpus
	latest      = "latest"
	ec2OnDrive  = "2009-04-04"
	ec2Instance = "2007-08-29" // instance-type
)

// Versions are the directories of /openstack, in the order of the listing.
var Versions = []string{folsom, grizzly, havana, liberty, newtonOne, newtonTwo, ocata, rocky, victoria, latest}

// EC2Versions are the directories of /, in the order of the listing.
var EC2Versions = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", latest}

// since tells whether version v of the tree has what version `from` brought. "latest" sorts after all dates.
func since(v, from string) bool { return v >= from }

func hasVersion(v string) bool    { return slices.Contains(Versions, v) }
func hasEC2Version(v string) bool { return slices.Contains(EC2Versions, v) }
