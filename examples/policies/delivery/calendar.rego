# METADATA
# title: Windows and freezes
# description: What cannot be read, such as a time zone that there is not, is neither inside nor outside of anything.
package delivery.calendar

import data.delivery.settings

# Each window has days, from and until, in the time zone of the settings.
inside_any(windows) if {
	zone := object.get(settings, "time_zone", "UTC")
	now := time.now_ns()
	clock := time.format([now, zone, "15:04"])
	some window in windows
	time.weekday([now, zone]) in window.days
	window.from <= clock
	clock < window.until
}

outside(period) if time.now_ns() < time.parse_rfc3339_ns(period.from)

outside(period) if time.now_ns() >= time.parse_rfc3339_ns(period.until)

in_the_last_hours(moment, hours) if {
	age := time.now_ns() - time.parse_rfc3339_ns(moment)
	age >= 0
	age <= ((hours * 60) * 60) * 1000000000
}
