"""`python -m tools.monitor`: what boards do, live in a terminal, as lines, as CSV, as a picture.

feeds.py asks one board over serial or listens to many over MQTT; screen.py and charts.py draw for
people, log.py writes and reads CSV, plot.py makes a picture of a log. docs/monitor.md explains.
"""
