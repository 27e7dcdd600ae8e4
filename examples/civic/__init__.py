"""Seven city offices, three durable workflows: a restaurant opens, homes are built, help comes.

    model         what is said: application, requests, answers, summary
    services/     what the offices decide: pure rules, one module per office
    records       an office's register: SQLite, one answer per idempotency key
    counter       an office's counter: count the request, work, decide and record once
    hosted        five offices served with movant
    plain         two offices served with nats-py alone, without movant
    approvals     what a set of answers amounts to: approvals, permit, renewals, summary
    restaurant    the workflow, in Python; restaurant.yaml is the same as a graph
    demo          all of it as processes, with the daemon killed in the middle
    housing.yaml  homes in four phases; emergency.yaml: an emergency in three
    development_model, emergency_model   what is said there; strategies.json: what is written down
    offices       all that the seven offices offer, with the undo of permits and connections
    city          homes and emergencies at play

Decisions
---------
D1. An operation is named by its path with slashes as dashes: ``/inspections/schedule`` is
    ``inspections-schedule``. Health permit and pre-opening inspection share that operation
    and differ in the body; they are two steps with two names, so two idempotency keys.
D2. The business licence comes first: everybody else needs a business to talk about. Zoning,
    health, building, fire, parking and liquor then run side by side.
D3. A refused review does not cut the others off. Every office answers, then the workflow
    decides once: the failure can name everything that was obtained, whatever came first.
D4. The final approval looks at the answers themselves, and then has the business office
    issue the operating permit. An answer that is no approval (a kitchen without fire
    suppression, an address that does not comply) ends the application like a refusal.
D5. Utilities and environmental do not belong to the eight steps of an opening. They are
    asked only by an application that declares a new connection or a grease interceptor;
    their answers add conditions and fees, and are no required approvals.
D6. A parking shortage is paid for or becomes a condition: it is no required approval. The
    fees of parking and of the two offices of D5 are part of the total.
D7. A liquor licence is granted under the condition of its 30 days of public notice; without
    a finished background check the business office does not open the file.
D8. A development with no buildings of its own has one with all units: the zoning review says so,
    names the buildings by letters, and later phases refer to its answer. A building's permit
    names its homes, and each certificate of occupancy refers to its own home and permit.
D9. Permits, plats, connections and certificates are withdrawn when a later office refuses. The
    completion certificate is the point of no return. Reviews and studies are opinions: they stay.
D10. Units are sent to an emergency before anybody looks up a strategy, and nothing but a refused
    dispatch fails the run: what could not be done is a warning and stands in the summary.
D11. What goes by the type of an emergency is data of the safety office (``strategies.json``). The
    severity raises response time and level of coordination, and lowers nothing.
D12. The city's radio reads out every public message: with the three channels of the graph four
    are activated.
"""
