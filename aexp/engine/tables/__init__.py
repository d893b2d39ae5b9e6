"""The tables of DBOS: all SQL of ours that names one, as named queries and as pieces of others.

A function asks by itself and takes a connection or a pool. A fragment is a piece of SQL for a query
on tables of ours; what it is about, a column or a parameter, it is given. A new release of DBOS
with other tables is met here.
"""
