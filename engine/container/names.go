package container

import (
	"math/rand/v2"
	"strconv"
)

// The generated names are two words and thereby easy to say: how a container is, and what is found on a quay.
var (
	moods = []string{
		"able", "agile", "amber", "apt", "ardent", "brave", "breezy", "bright", "brisk", "calm", "candid", "careful",
		"cheery", "civil", "clear", "clever", "cosy", "crisp", "curious", "daring", "deft", "eager", "early", "easy",
		"exact", "fair", "fleet", "fond", "frank", "free", "fresh", "gallant", "gentle", "glad", "golden", "good",
		"grand", "hardy", "hasty", "honest", "humble", "jolly", "keen", "kind", "light", "lively", "loyal", "lucid",
		"lucky", "mellow", "merry", "mighty", "mild", "modest", "neat", "nifty", "nimble", "noble", "patient", "plain",
		"plucky", "polite", "prompt", "proud", "quick", "quiet", "ready", "rosy", "sharp", "shiny", "silent", "smart",
		"snug", "sober", "solid", "sound", "spry", "stable", "steady", "stoic", "strong", "sunny", "swift", "tidy",
		"true", "upbeat", "vivid", "warm", "wary", "wise", "witty", "zesty",
	}
	finds = []string{
		"anchor", "barge", "barnacle", "beacon", "bollard", "bosun", "bowline", "brig", "buoy", "cable", "capstan",
		"catamaran", "clipper", "coaster", "cockle", "compass", "cormorant", "crane", "cutter", "davit", "deckhand",
		"derrick", "dinghy", "dock", "dolphin", "ferry", "fjord", "flotilla", "foghorn", "frigate", "galley", "gannet",
		"gantry", "gull", "halyard", "harbour", "hatch", "hawser", "heron", "hull", "jetty", "kayak", "keel", "ketch",
		"lagoon", "lantern", "ledger", "lighter", "lighthouse", "lock", "lugger", "manifest", "marina", "mast", "mole",
		"mooring", "oar", "osprey", "otter", "packet", "pallet", "pelican", "pennant", "pier", "pilot", "plover",
		"porpoise", "puffin", "quay", "rigging", "rudder", "sail", "schooner", "seal", "sextant", "shackle", "skiff",
		"skipper", "slipway", "sloop", "spar", "steamer", "stevedore", "swell", "tern", "tide", "tiller", "trawler",
		"tug", "turbot", "walrus", "wharf", "winch", "yawl",
	}
)

// generatedName makes a name; from the tenth try on with a number, so that a free one is found.
func generatedName(try int) string {
	n := moods[rand.IntN(len(moods))] + "_" + finds[rand.IntN(len(finds))]
	if try >= 10 {
		n += strconv.Itoa(rand.IntN(1_000_000))
	}
	return n
}
