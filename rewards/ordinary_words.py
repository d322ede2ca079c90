"""English words that are more often words than names, for rule 4c of `rewards.names`.

A short list, written for captions: what images show, what it looks like, what it does, and function
words. It cannot be complete. A name that is an ordinary word of another language, or a rare one of
English, counts as a name wherever it is written bare; prompts therefore ask for the tag.
"""

_WORDS = """
a about above across act add after again against age air alike all along also always am amid among
an and animal another any anyone anything appear apple are area arm around arrow art as ask at away
baby back backpack bag bake balance ball balloon banana band bandage bank bar bare bark barn baron
base basil basin basket bat bath be beach bead beagle beak beam bean bear beard beast beat beauty
because bed bee beer beetle before behind being bell belly below belt bench bend beneath berry
beside best better between beyond bib big bike bill bin bird biscuit bit bite black blade blank
blanket blaze blend bless blind block blond blonde bloom blossom blow blue blur board boat body bold
bolt bond bone book boot border both bottle bottom bow bowl box boy brace bracelet branch brand
brave bread break breeze brick bridge bright bring broad bronze brook brother brown brush bubble
buck bucket bud buddy bug build building bull bulldog bumper bunch bundle bunny burger burn bus bush
business busy but butter butterfly button buy by
cab cabin cable cactus cage cake calf call calm came camel camera camp can candle candy cane canvas
cap cape captain car card care carpet carriage carrot carry cart cartoon case cash castle cat catch
ceiling center centre ceramic chain chair chalk chance change character charm chart chase check
cheek cheer cheese cherry chess chest chestnut chick chicken chief child children chin chip
chocolate choose church cinnamon circle city class classic claw clay clean clear cliff climb clip
cloak clock close cloth clothes cloud clover clown club coal coast coat cobra cocoa coconut coffee
coin cold collar color colorful colour colourful comb come comet common cook cookie cool copper
coral cord corn corner cosy cotton couch could country couple court cover cow cozy crab crane crazy
cream creature crest crew crimson crocodile cross crow crowd crown crumb crystal cub cube cup
curious curl curly curtain curve cushion cut cute cyan
daisy dance dancer dapper dark darling dash date dawn day dear deck deep deer delight den desert
design desk devil dew diamond did dim dinner dinosaur dirt dish display distance do doctor does dog
doll dolphin done door dot dotted double dough dove down dragon draw dream dress drink drive drop
drum dry duck duke dune dusk dust dusty
each eagle ear early earth east easy eat edge egg eight elephant elf else ember emerald empty end
engine enjoy even evening ever every everyone everything eye
fabric face facing fair fairy faith falcon fall family fan fancy far farm fast fat father fawn
feather feature feel feet fence fern few fiddle field fig figure figurine fin find fine finger fir
fire first fish five flag flame flash flat fleece flint float flock floor flower fluffy flute fly
foal foam fog fold food foot for forest fork form forward four fox frame free french fresh friend
frog from front frost fruit full fun funny fur furry fuzzy
galaxy game garden garlic gate gem gentle get ghost giant gift ginger giraffe girl give glad glass
glasses gleam globe glove glow go goat goblin gold golden good goose grace gradient grain grape
grass gravel gray great green grey grin ground group grow guard guitar gull
had hair half hall ham hammer hamster hand handle hang happy harbor hard hare harp has hat have
haven hawk hay hazel he head heart heather heaven heavy hedge hedgehog held helmet help hen her here
hero heron hide high hill him hint his hit hive hold hole holly home honey hood hoof hook hop hope
horn horse hot hound hour house how hug huge human hunter husky
i ice icon icy idea if image in indigo indoor indoors ink inn insect inside into iris iron is island
it item its ivory ivy
jacket jade jaguar jam jar jasmine jasper jay jeans jelly jet jewel job join joker jolly joy jug
juice jump jumper jungle juniper just
kangaroo keen keep kettle key kid kin kind king kiss kit kitchen kite kitten kitty knee knife knight
knit knot know koala
label lace lad ladder lady ladybird ladybug lake lamb lamp land lane lantern large lark last late
laugh laurel lava lavender lawn lay lazy leaf lean leather leave left leg lemon leopard less let
letter lid lie life light lightning lilac lily limb lime line linen lion lip lit little live lizard
llama load lobster lock log long look loop lot lotus loud love low luck lucky lunch lynx
mad made magic magnet main make mallard mallow mammal man mane mango many map maple marble march
mare marigold mark market marmalade maroon mars mask mat match mate material matte may me meadow
meat medal meet mellow melon men mercury merry metal metallic meteor middle midnight might milk mind
mini mint mirror mist misty mitten mix model modern mole moment monkey monster month moon moose moss
moth mother motor mount mountain mouse mouth move mow much mud muffin mug mulberry multicolored
mushroom music must mustard muzzle my mystic
nail name narrow natural nature navy near neat neck need needle nest net nettle never new next nice
night nine no noble nod nose not note nothing now number nut nutmeg
oak oasis oat object ocean of off office oil old olive on once one onion only onto onyx opal open or
oracle orange orb orchid order oriole other otter our out outdoor outdoors outside oval oven over
owl own owner ox oyster
pacific pack pad page pail paint pair palace pale palm pan panda pansy panther pants papaya paper
parade parcel park parrot part party passage past pasta pastel pastry patch path pattern patterned
paw pea peace peach peacock peak peanut pear pearl pebble peel pen pencil penguin penny people
pepper perch perfect person pet petal petunia phantom phone photo photograph piano pick pickle
picture pie piece pig pigeon pilgrim pillow pilot pin pine pink pip pipe pirate pit pixel pixie
pizza place plaid plain plane planet plant plaster plastic plate platform play player playful
pleasant plum plump plus plush pocket poem poet point pole police polish polka pond pony pool poppy
porcelain portrait pose position post poster pot potato pouch powder precious present pretty prickly
primrose prince princess print pudding puddle puff puffin pull pumpkin pup puppet puppy pure purple
purse push
quail quartz queen quest quick quiet quill quilt quite
rabbit raccoon race rail rain rainbow raisin ram ran ranger rascal raspberry rat raven ray reach
read ready real red reed reef relax remote resin rest ribbon rice rich ride right ring ripple river
road robe robin robot rock rocket rocky rogue roll roof room root rope rosa rose rosemary rosy rough
round row royal ruby rug run runner russet rust rustic rusty
sack sad saddle safe saffron sage sail sailor salmon salt same sand sandal sandy sapphire sash satin
sauce say scale scarf scarlet scene school scissors scooter scout screen sea seal season seat second
see seed seem sell serene serious set settle seven shade shadow shape sharp shawl she sheep shelf
shell shepherd shine shiny ship shirt shoe shop shore short shot should shoulder show shrimp shy
side sienna silk silly silver simple since sing single sink sister sit six size skate sketch ski
skin skip skirt sky slate sleep sleepy sleeve slice slide slim slipper sloth slow small smart smile
smoke smoky smooth snack snail snake snap sneaker snow snowy so soap soar sock sofa soft solar
soldier solid some someone something son song soon sorrel sort soup south space spade spaniel spark
sparkle sparrow speck speckled spice spicy spider spike spin spiral spirit splash spoon sport spot
spotted sprig spring sprout spruce square squirrel stable stack stage stain stair stalk stand star
stare stark start state statue stay steel stem step stick still stocking stone stool stop store
stork storm story stove straight strap straw strawberry stream street string stripe striped strong
study stuffed style such sugar suit summer summit sun sunflower sunglasses sunny sunset sunshine
surf surface surprise swan sweater sweet swift swim swing sword
tabby table tag tail take talk tall tan tangerine tap tape target tart taxi tea teal team teapot
tear teddy teeth tell ten tent terrace texture textured than that the their them then there these
they thick thimble thin thing think third thirsty this thistle thorn those though thread three
throne through throw thumb thunder thyme tide tidy tie tiger tight tile timber time tin tiny tip
tire to toad toast today toe toffee together tomato tongue too tool tooth top topaz torch tortoise
toucan touch toward towards towel tower town toy track tractor trail train tray treat tree triangle
trick trim trip tropical truck true trumpet trunk try tub tube tulip tundra tune tunnel turn turnip
turquoise turtle tusk tweed twig twilight twin twist two type
umbrella under unicorn until up upon upper upright us use used
vale valley van vanilla vase vast velvet very vest view vine vintage violet violin viper
wagon waist wait walk wall wallet walnut walrus wander wanderer want warm warrior was wash wasp
watch water watering wave wavy wax way we wear weasel weather wedge week well were west whale what
wheat wheel when where which while whip whisker whiskers whistle white who whole why wicker wide
widow wife wild will willow wind winding window wing winner winter wire wise wish with within
without wizard wolf woman women wonder wood wooden wool woolly word work world worm would wrap wren
wrist write
yard yarn year yellow yes yet yew yoga yolk you young your
zebra zero zest zigzag zipper zone zoo
"""

ORDINARY_WORDS = frozenset(_WORDS.split())
