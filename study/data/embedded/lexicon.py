"""The words of the embedded corpus: a general and a petroleum vocabulary, English and French.

Data only.  A noun is written `english = french gender`, with the English plural after a slash where
it is irregular, and a star behind every French word that takes the plural: `drill pipe = tige* de
forage f`.  Groups are kinds: what a verb asks of its subject and object.

About sixty English words are in both vocabularies with different translations (`bit`: morceau,
trépan; `collar`: col, masse-tige): the lexical shift that makes adaptation necessary.  The French
of the petroleum vocabulary is that of the trade: `venue` for a kick, `duse` for a choke, `manœuvre`
for a trip, `racleur` for a pig.
"""

from __future__ import annotations

# Kinds whose nouns are uncountable: no plural, no indefinite article.
MASS_KINDS = ("food", "drink", "fluid", "job")

GENERAL_NOUNS = {
    "person": """
man/men = homme* m; woman/women = femme* f; child/children = enfant* m;
teacher = professeur* m; doctor = médecin* m; nurse = infirmière* f; friend = ami* m;
neighbour = voisin* m; farmer = fermier* m; singer = chanteur* m; actor = acteur* m;
girl = fille* f; boy = garçon* m; king = roi* m; queen = reine* f; soldier = soldat* m;
baker = boulanger* m; brother = frère* m; sister = sœur* f; uncle = oncle* m; aunt = tante* f;
lawyer = avocat* m; writer = écrivain* m; gardener = jardinier* m; driver = chauffeur* m;
student = étudiant* m; tourist = touriste* m; packer = emballeur* m; crew = équipage* m""",
    "animal": """
dog = chien* m; cat = chat* m; horse = cheval* m; bird = oiseau* m; cow = vache* f;
sheep/sheep = mouton* m; rabbit = lapin* m; duck = canard* m; wolf/wolves = loup* m;
bear = ours* m; pig = cochon* m; slug = limace* f; seal = phoque* m; ram = bélier* m;
owl = hibou hiboux m""",
    "thing": """
table = table* f; chair = chaise* f; window = fenêtre* f; door = porte* f; car = voiture* f;
bicycle = vélo* m; lamp = lampe* f; mirror = miroir* m; box = boîte* f; key = clé* f;
cup = tasse* f; plate = assiette* f; knife/knives = couteau* m; clock = horloge* f;
basket = panier* m; hammer = marteau* m; bottle = bouteille* f; boat = bateau* m;
piano = piano* m; wall = mur* m; umbrella = parapluie* m; axe = hache* f; ladder = échelle* f;
picture = tableau* m; bit = morceau* m; string = ficelle* f; jar = bocal* m; plug = prise* f;
log = bûche* f; core = trognon* m; rock = rocher* m; pipe = pipe* f; tank = char* m;
bed = lit* m; drum = tambour* m; flare = fusée* éclairante* f; gun = fusil* m;
stack = pile* f; crown = couronne* f; elevator = ascenseur* m; rod = baguette* f;
meter = mètre* m; casing = boîtier* m; choke = starter* m; Christmas tree = sapin* de Noël m;
sub = sous-marin* m; drill = perceuse* f; cutting = bouture* f; streamer = serpentin* m;
liner = paquebot* m; block = bloc* m""",
    "clothes": """
shirt = chemise* f; hat = chapeau* m; coat = manteau* m; dress = robe* f;
scarf/scarves = écharpe* f; skirt = jupe* f; glove = gant* m; collar = col* m;
shoe = chaussure* f; hanger = cintre* m""",
    "text": """
book = livre* m; letter = lettre* f; newspaper = journal* m; story = histoire* f;
poem = poème* m; message = message* m; article = article* m; recipe = recette* f;
header = en-tête* m; line = ligne* f; survey = sondage* m; novel = roman* m""",
    "place": """
house = maison* f; garden = jardin* m; school = école* f; church = église* f;
market = marché* m; park = parc* m; hospital = hôpital* m; village = village* m;
kitchen = cuisine* f; hotel = hôtel* m; library = bibliothèque* f; museum = musée* m;
castle = château* m; street = rue* f; city = ville* f; bridge = pont* m; forest = forêt* f;
river = rivière* f; beach = plage* f; field = champ* m; platform = quai* m; station = gare* f;
mill = moulin* m; stand = étal* m; hangar = hangar* m; island = île* f""",
    "food": """
bread = pain m; cheese = fromage m; butter = beurre m; meat = viande f; soup = soupe f;
salt = sel m; sugar = sucre m; rice = riz m; honey = miel m; feed = fourrage m; wax = cire f""",
    "drink": """
water = eau f; milk = lait m; tea = thé m; coffee = café m; wine = vin m; beer = bière f;
oil = huile f; gas = essence f""",
    "event": """
party = fête* f; concert = concert* m; game = jeu* m; storm = orage* m; fire = incendie* m;
accident = accident* m; show = spectacle* m; trip = voyage* m; strike = grève* f;
kick = coup* de pied m; blowout = crevaison* f; fault = faute* f; throw = lancer* m;
cut = coupure* f; shift = changement* m; pay = paie* f; dip = baisse* f;
prospect = perspective* f; meeting = réunion* f""",
}

GENERAL_ADJECTIVES = """
red = rouge rouge; blue = bleu bleue; green = vert verte; white = blanc blanche;
black = noir noire; strange = étrange étrange; expensive = cher chère;
famous = célèbre célèbre; quiet = calme calme; dangerous = dangereux dangereuse;
useful = utile utile; sad = triste triste; modern = moderne moderne; clean = propre propre;
dirty = sale sale; rich = riche riche; round = rond ronde; light = léger légère;
sour = aigre aigre; sweet = sucré sucrée; tight = serré serrée; lean = mince mince;
crude = grossier grossière; happy = heureux heureuse; tired = fatigué fatiguée;
strong = fort forte; flat = plat plate; interesting = intéressant intéressante;
yellow = jaune jaune; cold = froid froide
"""
BEFORE_ADJECTIVES = """
big = grand grande; small = petit petite; beautiful = beau belle bel; good = bon bonne;
bad = mauvais mauvaise; old = vieux vieille vieil; new = nouveau nouvelle nouvel;
young = jeune jeune; long = long longue; pretty = joli jolie; high = haut haute;
low = bas basse
"""
# Which general adjectives go with which kind of noun; the others go with any.
LIVING = ("happy", "tired", "sad", "strong", "lean", "rich", "famous", "dangerous", "strange")
OF_EVENTS = ("dangerous", "strange", "sad", "interesting", "famous")
NOT_LIVING = (
    "red", "blue", "green", "white", "black", "yellow", "expensive", "useful", "modern", "clean",
    "dirty", "round", "light", "sour", "sweet", "tight", "crude", "flat", "interesting", "cold",
    "strange", "dangerous",

)  # fmt: skip

# english = french | subjects | objects; "!" after the French verb: its past is built with être.
GENERAL_VERBS = """
see = voir | person animal | person animal thing place event;
find = trouver | person | person animal thing clothes text;
buy = acheter | person | thing clothes text food drink;
sell = vendre | person | thing clothes text food drink;
love = aimer | person | person animal place food drink;
know = connaître | person | person place text;
watch = regarder | person animal | person animal event;
hear = entendre | person animal | person animal event; carry = porter | person | thing;
take = prendre | person | thing clothes text; lose = perdre | person | thing clothes text;
wear = porter | person | clothes; visit = visiter | person | place;
cross = traverser | person animal | place; paint = peindre | person | thing place animal;
follow = suivre | person animal | person animal; help = aider | person | person animal;
draw = dessiner | person | animal thing place; cut = couper | person | food;
hide = cacher | person animal | thing clothes text; read = lire | person | text;
write = écrire | person | text; eat = manger | person animal | food;
drink = boire | person animal | drink; repair = réparer | person | thing clothes;
clean = nettoyer | person | thing place clothes;
describe = décrire | person | person place event;
prepare = préparer | person | food drink event; forget = oublier | person | person text event;
drill = percer | person | thing; pull = tirer | person animal | thing;
set = poser | person | thing text; treat = soigner | person | person animal;
complete = terminer | person | text; crack = casser | person animal | thing;
kill = tuer | person animal | animal; run = diriger | person | place;
test = essayer | person | thing clothes; break = casser | person animal | thing;
steal = voler | person | thing text
"""
GENERAL_INTRANSITIVE = """
sing = chanter | person; sleep = dormir | person animal; work = travailler | person;
dance = danser | person; swim = nager | person animal; arrive = arriver! | person animal;
fall = tomber! | person animal thing; play = jouer | person animal;
wait = attendre | person animal; laugh = rire | person; bleed = saigner | person animal;
run = courir | person animal; leave = partir! | person animal; flow = couler | drink;
dream = rêver | person
"""
ADVERBS = """
well = bien; badly = mal; slowly = lentement; here = ici; quickly = rapidement
"""

PETROLEUM_NOUNS = {
    "person": """
driller = foreur* m; engineer = ingénieur* m; geologist = géologue* m;
operator = opérateur* m; technician = technicien* m; toolpusher = chef* de chantier m;
roughneck = ouvrier* de plancher m; derrickman/derrickmen = accrocheur* m;
geophysicist = géophysicien* m; supervisor = superviseur* m; welder = soudeur* m;
inspector = inspecteur* m; contractor = sous-traitant* m; crew = équipe* f;
reservoir engineer = ingénieur* de réservoir m; shift = poste* m""",
    "tool": """
bit = trépan* m; string = garniture* f; collar = masse*-tige* f; pipe = tige* f;
casing = tubage* m; packer = packer* m; hanger = suspension* f; shoe = sabot* m;
liner = colonne* perdue* f; plug = bouchon* m; seal = joint* m; jar = coulisse* f;
sub = raccord* m; mill = fraise* f; elevator = élévateur* m; block = moufle* m;
ram = mâchoire* f; stack = empilage* m; gun = canon* m; choke = duse* f;
Christmas tree = arbre* de Noël m; stand = longueur* f; rod = tige* de pompage f;
drill pipe = tige* de forage f; drill string = train* de tiges m;
roller bit = trépan* à molettes m; diamond bit = trépan* au diamant m;
kelly = tige* d'entraînement f; rotary table = table* de rotation f;
swivel = tête* d'injection f; mud pump = pompe* à boue f; mud tank = bac* à boue m;
shale shaker = tamis* vibrant* m; desander = dessableur* m; desilter = dessilteur* m;
degasser = dégazeur* m; crown block = moufle* fixe* m; travelling block = moufle* mobile* m;
derrick = derrick* m; mast = mât* m; drawworks/drawworks = treuil* de forage m;
hook = crochet* m; stabilizer = stabilisateur* m; reamer = aléseur* m;
hole opener = élargisseur* m; downhole motor = moteur* de fond m;
whipstock = sifflet* déviateur* m; centralizer = centreur* m;
casing shoe = sabot* de tubage m; blowout preventer = bloc* obturateur* m; nozzle = buse* f;
annular preventer = obturateur* annulaire* m; wellhead = tête* de puits f;
tubing = tube* de production m; bridge plug = bouchon* mécanique* m;
safety valve = vanne* de sécurité f; sand screen = crépine* f;
gravel pack = massif* de gravier m; sliding sleeve = chemise* coulissante* f;
cable = câble* m; submersible pump = pompe* immergée* f; probe = sonde* f;
core barrel = carottier* m; geophone = géophone* m; hydrophone = hydrophone* m;
streamer = flûte* f; logging tool = outil* de diagraphie m; tool joint = raccord* de tige m""",
    "unit": """
separator = séparateur* m; drum = ballon* m; compressor = compresseur* m;
reboiler = rebouilleur* m; heat exchanger = échangeur* de chaleur m;
distillation column = colonne* de distillation f; furnace = four* m; boiler = chaudière* f;
flare = torche* f; tank = bac* m; pump = pompe* f; valve = vanne* f;
control valve = vanne* de régulation f; check valve = clapet* anti-retour m;
relief valve = soupape* de sûreté f; line = conduite* f; header = collecteur* m;
meter = compteur* m; flow meter = débitmètre* m; pressure gauge = manomètre* m;
scrubber = laveur* m; absorber = absorbeur* m; dehydrator = déshydrateur* m;
catalytic cracker = craqueur* catalytique* m; condenser = condenseur* m;
cooler = refroidisseur* m; turbine = turbine* f; tray = plateau* m; flange = bride* f;
pig = racleur* m; filter = filtre* m; storage tank = bac* de stockage m;
loading arm = bras de chargement m; flow line = conduite* d'écoulement f;
riser = tube* prolongateur* m; pipeline = oléoduc* m; gas pipeline = gazoduc* m""",
    "fluid": """
mud = boue f; oil = pétrole m; gas = gaz m; water = eau f; cement = ciment m;
brine = saumure f; crude oil = pétrole brut m; condensate = condensat m;
natural gas = gaz naturel m; formation water = eau de formation f;
drilling fluid = fluide de forage m; barite = barytine f; bentonite = bentonite f;
acid = acide m; steam = vapeur f; sand = sable m; naphtha = naphta m; kerosene = kérosène m;
gas oil = gazole m; bitumen = bitume m; liquefied gas = gaz liquéfié m; glycol = glycol m;
methane = méthane m; hydrogen sulphide = sulfure d'hydrogène m; polymer = polymère m;
wax = paraffine f; feed = charge f; foam = mousse f; carbon dioxide = dioxyde de carbone m;
fuel oil = fioul m""",
    "rock": """
formation = formation* f; rock = roche* f; reservoir = réservoir* m; bed = couche* f;
fault = faille* f; shale = schiste* m; sandstone = grès m; limestone = calcaire* m;
dolomite = dolomie* f; clay = argile* f; salt dome = dôme* de sel m;
cap rock = roche* couverture* f; source rock = roche* mère* f;
reservoir rock = roche* réservoir* f; anticline = anticlinal* m; syncline = synclinal* m;
trap = piège* m; unconformity = discordance* f; aquifer = aquifère* m;
gas cap = chapeau* de gaz m; field = gisement* m; pay = zone* productive* f;
fracture = fracture* f; outcrop = affleurement* m; horizon = horizon* m;
prospect = prospect* m; oil shale = schiste* bitumineux m""",
    "well": """
well = puits m; oil well = puits de pétrole m; gas well = puits de gaz m;
borehole = trou* de forage m; injection well = puits d'injection m;
wildcat well = puits d'exploration m""",
    "site": """
platform = plate*-forme* f; drilling rig = appareil* de forage m; drillship = navire* de forage m;
refinery = raffinerie* f; jack-up rig = plate*-forme* auto-élévatrice* f;
terminal = terminal* m; station = station* f; annulus/annuli = espace* annulaire* m;
drill floor = plancher* de forage m; oil field = champ* pétrolier* m""",
    "quantity": """
pressure = pression* f; flow rate = débit* m; depth = profondeur* f; porosity = porosité* f;
permeability = perméabilité* f; density = densité* f; viscosity = viscosité* f;
torque = couple* m; temperature = température* f; saturation = saturation* f;
bottom-hole pressure = pression* de fond f; pore pressure = pression* interstitielle* f;
yield = rendement* m; gas-oil ratio = rapport* gaz-huile m; water cut = teneur* en eau f;
resistivity = résistivité* f; hook load = charge* au crochet f;
octane number = indice* d'octane m; recovery factor = taux de récupération m;
pour point = point* d'écoulement m; flash point = point* d'éclair m; dip = pendage* m;
strike = direction* f; throw = rejet* m""",
    "record": """
log = diagraphie* f; gamma ray log = diagraphie* gamma f;
density log = diagraphie* de densité f; sonic log = diagraphie* acoustique* f;
seismic section = coupe* sismique* f; survey = levé* m; well test = essai* de puits m;
resistivity log = diagraphie* de résistivité f""",
    "sample": """
core = carotte* f; sidewall core = carotte* latérale* f; cutting = déblai* m;
sample = échantillon* m; cut = coupe* f""",
    "event": """
kick = venue* f; blowout = éruption* f; show = indice* m; slug = bouchon* de liquide m;
trip = manœuvre* f; lost circulation = perte* de circulation f; leak = fuite* f;
spill = déversement* m; shutdown = arrêt* m; workover = reconditionnement* m;
gas show = indice* de gaz m; emulsion = émulsion* f; hydrate = hydrate* m""",
    "job": """
fishing = repêchage m; cementing = cimentation f; drilling = forage m; logging = diagraphie f;
refining = raffinage m; coring = carottage m; stimulation = stimulation f;
completion = complétion f; corrosion = corrosion f; injection = injection f;
maintenance = entretien m""",
}

PETROLEUM_ADJECTIVES = """
deep = profond profonde; horizontal = horizontal horizontale; vertical = vertical verticale;
porous = poreux poreuse; permeable = perméable perméable; heavy = lourd lourde;
light = léger légère; sour = acide acide; sweet = doux douce; tight = compact compacte;
lean = pauvre pauvre; wet = humide humide; dry = sec sèche; viscous = visqueux visqueuse;
faulty = défectueux défectueuse; hydraulic = hydraulique hydraulique;
mechanical = mécanique mécanique; damaged = endommagé endommagée; worn = usé usée;
offshore = marin marine; stuck = coincé coincée; abnormal = anormal anormale;
critical = critique critique; dense = dense dense; clean = propre propre; hot = chaud chaude
"""
# Kinds of noun that a petroleum adjective goes with.
ADJECTIVE_KINDS = {
    "deep": "rock well", "horizontal": "rock well", "vertical": "rock well", "porous": "rock",
    "permeable": "rock", "heavy": "fluid tool", "light": "fluid tool", "sour": "fluid",
    "sweet": "fluid", "tight": "rock", "lean": "fluid", "wet": "fluid rock", "dry": "fluid well",
    "viscous": "fluid", "faulty": "tool unit", "hydraulic": "tool unit", "mechanical": "tool unit",
    "damaged": "tool unit sample", "worn": "tool unit", "offshore": "site well rock",
    "stuck": "tool",
    "abnormal": "quantity event", "critical": "quantity event", "dense": "fluid rock",
    "clean": "tool unit", "hot": "fluid unit",
}  # fmt: skip

PETROLEUM_VERBS = """
drill = forer | person | well; complete = compléter | person | well;
kill = neutraliser | person | well; test = tester | person | well unit tool;
abandon = abandonner | person | well site; run = descendre | person | tool;
pull = remonter | person | tool; set = ancrer | person | tool;
install = installer | person | tool unit; replace = remplacer | person | tool unit;
inspect = inspecter | person | tool unit site; repair = réparer | person | tool unit;
check = vérifier | person | tool unit quantity record sample;
clean = nettoyer | person | tool unit well; connect = raccorder | person | unit tool;
close = fermer | person | unit well; open = ouvrir | person | unit;
pump = pomper | person unit | fluid; inject = injecter | person | fluid;
treat = traiter | person unit | fluid; heat = chauffer | unit | fluid;
separate = séparer | unit | fluid; refine = raffiner | person | fluid;
store = stocker | person | fluid; crack = craquer | unit | fluid;
bleed = purger | person | unit; analyse = analyser | person | fluid record sample;
fracture = fracturer | person | rock; map = cartographier | person | rock;
measure = mesurer | person tool | quantity; increase = augmenter | person | quantity;
reduce = réduire | person unit | quantity; control = contrôler | person unit | quantity event;
monitor = surveiller | person | quantity unit well;
record = enregistrer | person tool | quantity event record;
calculate = calculer | person | quantity; detect = détecter | person tool | event rock;
avoid = éviter | person | event job; stop = arrêter | person | unit job;
report = signaler | person | event; contain = contenir | rock unit | fluid;
damage = endommager | event fluid | tool unit rock; cross = traverser | tool well | rock;
reach = atteindre | tool well fluid | rock; produce = produire | well rock | fluid;
plug = boucher | fluid event | tool unit; study = étudier | person | rock record event;
take = prélever | person | sample; describe = décrire | person | sample rock;
start = démarrer | person | unit; transport = transporter | person unit | fluid;
protect = protéger | tool unit | tool unit site; cause = provoquer | event fluid | event;
plan = préparer | person | job event; supervise = diriger | person | job
"""
PETROLEUM_INTRANSITIVE = """
rise = augmenter | quantity; fall = baisser | quantity; leak = fuir | unit tool;
vibrate = vibrer | tool unit; rotate = tourner | tool; flow = débiter | well rock;
work = fonctionner | unit tool; stop = cesser | event job
"""

# Adjectives in front of the noun that both domains use, by kind of noun.
SHARED_BEFORE = {
    "person": "good bad old new young",
    "animal": "good bad old young big small beautiful pretty",
    "thing": "good bad old new big small beautiful pretty long",
    "clothes": "good bad old new big small beautiful pretty long",
    "text": "good bad old new long beautiful",
    "place": "old new big small beautiful pretty",
    "food": "good bad", "drink": "good bad",
    "event": "big small new",
    "well": "good bad old new",
    "tool": "good old new big small long", "unit": "good old new big small",
    "fluid": "good bad", "rock": "good big small new old", "site": "good bad old new big small",
    "quantity": "high low good bad", "record": "good bad new old",
    "sample": "good bad new small big",
    "job": "good bad",
}  # fmt: skip

# english = french | kinds of noun that may follow
GENERAL_PLACES = """
in = dans | place; near = près de | place person; behind = derrière | place thing;
in front of = devant | place; under = sous | thing; on = sur | thing;
with = avec | person animal; without = sans | person
"""
PETROLEUM_PLACES = """
in = dans | rock well; near = à proximité de | site well unit; behind = derrière | unit;
above = au-dessus de | rock; below = au-dessous de | rock; after = à la suite de | job;
before = avant | job; during = au cours de | job; with = à l'aide de | tool; on = sur | unit
"""
# The same prepositions in everyday French.
LAY_PLACES = """
in = dans | rock well; near = près de | site well unit; behind = derrière | unit;
above = sur | rock; below = sous | rock; after = après | job; before = avant | job;
during = pendant | job; with = avec | tool; on = sur | unit
"""
# The trade's words that differ from everyday French: `lorsque` for quand, `une pression
# élevée` for une haute pression, `à l'aide de` for avec.
PETROLEUM_BEHIND = "high = élevé élevée"
PETROLEUM_BEFORE = "low = faible faible; big = gros grosse"
TIMES = {
    "present": "every day = chaque jour; now = maintenant; on Mondays = le lundi",
    "past": "yesterday = hier; last week = la semaine dernière; this morning = ce matin",
    "future": "tomorrow = demain; next week = la semaine prochaine; this evening = ce soir",
}
CONJUNCTIONS = "when = quand; because = parce que; while = pendant que; but = mais; and = et"
PETROLEUM_CONJUNCTIONS = "when = lorsque; because = car; while = tandis que; but = mais; and = et"
