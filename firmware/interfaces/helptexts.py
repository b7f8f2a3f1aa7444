# Examples for `help <command>`. Loaded when somebody asks, and dropped again. A line each:
# "what is typed = what it does". Used by Commands._help(); `cal` and `events` have their own.

TEXT = """
status --json = the same for programs, with all readings
watch 0.5 = twice a second, until a key is hit (0.2 to 60 s)
outlets --json = with the times that each relay has learned
on bed1 = refused with the reason when it cannot be on
on all = one each half second, the most important first
on bed1 --force = although its last demand does not fit
off bed1 = whatever its state; clears no trip
off all = every outlet at once
reset bed1 = after a trip; it stays off until it is switched on
reset bed1 --force = ends a lockout; a welded relay was replaced
reset all = whatever is tripped, locked out or in fault
get bed1. = all that begin so
get bed1.limit_a = its value, its use, what is allowed
get --changed = what differs from its default or is not saved
set bed1.limit_a 16 = in force at once; get tells what is allowed
set bed1.trip_class slow = one of some words
set device.name "my truck" = a text
save = without it a change ends with the next start
defaults yes = in memory; save makes it last
settings export = lines that bring it all back when typed
settings export --json = for a file; no passwords
settings import {"bed1.limit_a":16} = all of it or nothing
energy days 7 = of the last seven days
energy hours = of two days; months: of ten years
energy hours bed1 = today against yesterday, hour by hour; or: total
time = local and UTC, who told it, and how long ago
time set 2026-01-31T12:00:00Z = UTC; a network tells it by itself
capture bed1 = the current of its trip as a drawing
capture bed1 --all --json = every channel, for tools/capture
capture clear = free for the next trip
selftest full = all of it now; takes some seconds
mqtt = connected or not, and why
mqtt forget = Home Assistant forgets this device
wifi scan = networks in reach; 2 s, with every outlet off
wifi set MyNet "a password" = one more (of 3), or its new password
wifi forget MyNet = both: then save, and reboot yes
mode camp = its limits, reserve and quiet hours; no switching
battery soc 80 = tell it how full it is; it counts from there
home start = off the grid and fed by us, until home stop
home stop = back to the grid; --force: also if dead
home reset = after a fault or trip; --force: a lockout
vehicle start = charge the car; stop: no more of it
vehicle limit 16 = at most 16 A for this car
vehicle reset = after a fault, when its cause has been found
grid set 3000 = how much is exported, W; grid start, grid stop
storm on = a larger reserve until storm off
reboot yes = opens every relay, saves, starts again
exit yes = opens every relay; nothing protects afterwards
help on = usage and examples of a command
version --json = for programs
"""


def forms(name: str) -> list:
    """[(what is typed, what it does)] of a command."""
    found = []
    for line in TEXT.split("\n"):
        if line.split(" ")[0] == name:
            at = line.find(" = ")
            found.append((line[:at], line[at + 3 :]))
    return found
