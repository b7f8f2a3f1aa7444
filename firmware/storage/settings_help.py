# What the settings do, for people: loaded when somebody asks for one, and dropped again, because
# the texts would take 3 KB of the heap where modules are kept there. Used by Settings.help().
# A line each, "name: text"; "*." stands for an outlet.

TEXT = """
device.id: name on MQTT; empty: from the chip's serial number
device.name: name for people
wifi.ssid: network to join; empty: no Wi-Fi
wifi.password: password of that network
wifi.ssid2: another one; the strongest is tried first
wifi.password2: password of wifi.ssid2
wifi.ssid3: a third one
wifi.password3: password of wifi.ssid3
wifi.hostname: name in the network; empty: device.id
wifi.country: two letters, sets the radio's channels
mqtt.host: broker's name or address; empty: no MQTT
mqtt.port: broker's port (8883 with TLS)
mqtt.user: user name at the broker
mqtt.password: password at the broker
mqtt.tls: encrypt the connection to the broker
mqtt.ca_file: file with the certificate (DER) to trust
mqtt.cert_file: file with the board's own certificate (DER), if the broker asks for one
mqtt.key_file: file with the key of mqtt.cert_file (DER)
mqtt.discovery: announce to Home Assistant
mqtt.interval_s: time between two state messages
mqtt.allow: what may come from the network; limits: protection, too
supply.nominal_v: nominal voltage of a leg to neutral
supply.hz: mains frequency; auto: measured
supply.loss_percent: below this part of nominal the supply counts as lost
supply.loss_s: for so long; shorter dips ride through
supply.under_percent: below this part of nominal the voltage is too low
supply.under_s: for so long
supply.over_percent: above this part of nominal the voltage is too high
supply.over_s: for so long
supply.high_percent: above this it is far too high
supply.high_s: for so long
supply.hz_percent: how far the frequency may be off nominal, either way
supply.hz_s: for so long
temperature.derate_c: from here on all limits fall by 10 % each 5 C
temperature.trip_c: here the outlets open
temperature.sensor: yes: limits fall when it is broken; no: nothing acts on it
gfci.input: level that means a ground fault; none: nothing is wired
contactor.feedback: level that means the contactor is closed; none: not wired
relay.zero_cross: commands switch near a zero crossing; faults never wait for it
relay.break_mode: a peak trip above breaking_a opens at once, or waits
relay.wait_ms: time for the breaker upstream; then it opens whatever flows
relay.operations: how often a relay may close before a warning
total.limit_w: limit of all outlets together
leg.limit_a: limit of each leg
shed.restore_s: headroom must last this long to restore
shed.min_off_s: shortest time off (compressors need it)
shed.margin_w: headroom wanted beyond the last demand
shed.restarts: how often an outlet may come back within an hour; 0: never by itself
events.verbose: show links, settings and stalls too
console.echo: echo typed keys; auto: only when keys come singly
console.uart: a second console on the board's serial pins
console.baud: bits a second on these pins
storage.fram_kb: size of the FRAM on the I2C bus; none: flash does it all
time.zone: POSIX rule, for days and local times: EST5EDT,M3.2.0,M11.1.0 is New York
time.servers: where the time comes from when linked; empty: from nowhere
grid.enabled: export to the grid may be started
grid.profile: limits of voltage and frequency, and their times
grid.start: auto: after a start of the board, too, once the grid is good
grid.power_w: what is exported, where source and grid.most_w allow it
grid.most_w: the most that may be exported: of the connection, by the utility
grid.rating_w: what the inverter exports at a set point of 100 %
grid.cease_ms: how long the inverter takes to stop when its permissive falls
grid.island_input: level that means an island; none: not wired
tariff.import_ct: price of a kWh from the grid
tariff.export_ct: what a kWh to the grid earns
tariff.peak: when the peak rates hold: mon-fri 17:00-21:00; empty: never
tariff.import2_ct: price from the grid at the peak
tariff.export2_ct: what is earned at the peak
mode.default: mode after a start, and where the schedule says none
mode.schedule: which mode when: days, times and a mode, separated by ;
mode.outlets: what the mode outlets changes; empty: built in
mode.worksite: what the mode worksite changes; empty: built in
mode.camp: what the mode camp changes; empty: built in
mode.home: what the mode home changes; empty: built in
mode.vehicle: what the mode vehicle changes; empty: built in
mode.grid: what the mode grid changes; empty: built in
vehicle.enabled: bed240 charges cars: control pilot of SAE J1772, nothing else
vehicle.start: a car is charged when it is plugged in, or when told to
vehicle.most_a: most that a car is offered; never more than 80 % of bed240.limit_a
vehicle.energy_kwh: a car gets no more than that; 0: as much as it takes
vehicle.gfci: what finds ground faults: gfci.input (tested: each time), or a breaker
home.mode: who switches the home over when the grid fails; off: it stays on the grid
home.ride_ms: a grid that is bad for less than this is waited for
home.stable_s: the grid must be good for so long before the home goes back
home.start_s: the vehicle's voltage must stand within this time
home.stage_s: for so long nothing else is switched on after the home was taken over
home.pause_ms: the home is dark at least so long on its way back, for its motors
home.dead_ms: both sides are seen open for so long before one closes
home.follow_ms: a contact must follow its command within this time
home.bond: the transfer switch switches the neutral, and the vehicle bonds it
battery.usable_kwh: usable capacity of the vehicle's battery; 0: none is watched
battery.extender_kwh: of a range extender, beside it
battery.storm: what is kept back during a storm watch, at least
battery.storm_watch: storm watch holds (storm on)
*.name: name for people; empty: the outlet's own
*.limit_a: continuous current limit
*.trip_class: how long an overload may last
*.peak: the peak stage opens it
*.peak_x: peak limit: this x rating x sqrt 2
*.short_time: the short-time stage opens it
*.short_x: short-time limit: this x rating
*.short_s: for so long
*.continuous: what follows when it is near its limit for hours
*.continuous_x: this x its limit is a continuous load
*.continuous_h: for so long
*.voltage: under- and over-voltage open it (loss of supply always does)
*.frequency: a frequency outside its band opens it
*.temperature: over-temperature opens it
*.gfci: the ground-fault input opens it
*.switch_at: where in the voltage's wave it closes; peak: transformers, motors
*.breaking_a: what its relay can break, RMS
*.priority: 1 is kept longest, 9 is shed first
*.after_boot: state after a restart; a trip always stays off
"""
