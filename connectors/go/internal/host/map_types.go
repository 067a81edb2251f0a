package host

import "google.golang.org/protobuf/reflect/protoreflect"

// What each field of waE2E.Message is called on the log (the ContentType symbols of the schema).

// contentType tells the type of a message that has this field; text is the field of its body or caption.
type contentType struct {
	name string
	text protoreflect.Name
}

// contentTypes are all known content fields. A field that is in none of the three tables is `unknown`.
var contentTypes = map[protoreflect.Name]contentType{
	"conversation":                      {"text", ""},
	"extendedTextMessage":               {"text", "text"},
	"imageMessage":                      {"image", "caption"},
	"videoMessage":                      {"video", "caption"}, // gif when played as one
	"ptvMessage":                        {"video_note", "caption"},
	"audioMessage":                      {"audio", ""}, // voice when recorded
	"documentMessage":                   {"document", "caption"},
	"stickerMessage":                    {"sticker", ""},
	"stickerPackMessage":                {"sticker_pack", "name"},
	"albumMessage":                      {"album", ""},
	"locationMessage":                   {"location", "name"},
	"liveLocationMessage":               {"live_location", "caption"},
	"contactMessage":                    {"contact", "displayName"},
	"contactsArrayMessage":              {"contact", "displayName"},
	"pollCreationMessage":               {"poll", "name"},
	"pollCreationMessageV2":             {"poll", "name"},
	"pollCreationMessageV3":             {"poll", "name"},
	"pollCreationMessageV5":             {"poll", "name"},
	"pollCreationMessageV6":             {"poll", "name"},
	"pollUpdateMessage":                 {"poll_vote", ""},
	"pollAddOptionMessage":              {"poll_update", ""},
	"pollResultSnapshotMessage":         {"poll_update", "name"},
	"pollResultSnapshotMessageV3":       {"poll_update", "name"},
	"eventMessage":                      {"event", "name"},
	"eventInviteMessage":                {"event", ""},
	"encEventResponseMessage":           {"event_response", ""},
	"reactionMessage":                   {"reaction", ""},
	"encReactionMessage":                {"reaction", ""},
	"commentMessage":                    {"comment", ""},
	"encCommentMessage":                 {"comment", ""},
	"pinInChatMessage":                  {"pin", ""},
	"keepInChatMessage":                 {"keep", ""},
	"listMessage":                       {"list", "description"},
	"buttonsMessage":                    {"buttons", "contentText"},
	"interactiveMessage":                {"interactive", ""},
	"buttonsResponseMessage":            {"choice_reply", "selectedDisplayText"},
	"listResponseMessage":               {"choice_reply", "title"},
	"templateButtonReplyMessage":        {"choice_reply", "selectedDisplayText"},
	"interactiveResponseMessage":        {"choice_reply", ""},
	"templateMessage":                   {"template", ""},
	"highlyStructuredMessage":           {"template", ""},
	"productMessage":                    {"product", "body"},
	"orderMessage":                      {"order", "message"},
	"sendPaymentMessage":                {"payment", ""},
	"requestPaymentMessage":             {"payment", ""},
	"declinePaymentRequestMessage":      {"payment", ""},
	"cancelPaymentRequestMessage":       {"payment", ""},
	"paymentInviteMessage":              {"payment", ""},
	"invoiceMessage":                    {"payment", "note"},
	"splitPaymentMessage":               {"payment", ""},
	"splitPaymentUpdateMessage":         {"payment", ""},
	"paymentReminderMessage":            {"payment", ""},
	"groupInviteMessage":                {"group_invite", "caption"},
	"newsletterAdminInviteMessage":      {"newsletter_invite", "caption"},
	"newsletterFollowerInviteMessageV2": {"newsletter_invite", "caption"},
	"callLogMesssage":                   {"call_log", ""},
	"bcallMessage":                      {"call_log", ""},
	"scheduledCallCreationMessage":      {"call_log", "title"},
	"scheduledCallEditMessage":          {"call_log", ""},
	"call":                              {"call_log", ""},
	"statusNotificationMessage":         {"status_activity", ""},
	"statusQuotedMessage":               {"status_activity", "text"},
	"statusStickerInteractionMessage":   {"status_activity", ""},
	"statusQuestionAnswerMessage":       {"status_activity", "text"},
	"questionResponseMessage":           {"status_activity", "text"},
	"statusLinkPreviewMetadata":         {"status_activity", ""},
	"richResponseMessage":               {"ai_response", ""},
	"requestPhoneNumberMessage":         {"phone_number", ""},
	"placeholderMessage":                {"placeholder", ""},
	"stickerSyncRmrMessage":             {"system", ""},
	"groupRootKeyShare":                 {"system", ""},
	"rootSecretDistributeMessage":       {"system", ""},
}

// Fields that hold another message: opened until the content is found.
var wrapperFields = map[protoreflect.Name]bool{
	"deviceSentMessage": true, "botInvokeMessage": true, "ephemeralMessage": true, "viewOnceMessage": true,
	"viewOnceMessageV2": true, "viewOnceMessageV2Extension": true, "lottieStickerMessage": true,
	"documentWithCaptionMessage": true, "editedMessage": true, "groupMentionedMessage": true,
	"associatedChildMessage": true, "eventCoverImage": true, "statusMentionMessage": true,
	"groupStatusMentionMessage": true, "groupStatusMessage": true, "groupStatusMessageV2": true, "statusAddYours": true,
	"pollCreationMessageV4": true, "pollCreationOptionImageMessage": true, "spoilerMessage": true,
	"questionMessage": true, "questionReplyMessage": true, "limitSharingMessage": true, "botTaskMessage": true,
	"botForwardedMessage": true, "botPlatformRegistrationSuccessMessage": true,
	"newsletterAdminProfileMessage": true, "newsletterAdminProfileStatusMessage": true,
}

// Fields that ride beside the content and are never the type.
var besideFields = map[protoreflect.Name]bool{
	"messageContextInfo": true, "senderKeyDistributionMessage": true, "fastRatchetKeySenderKeyDistributionMessage": true,
}

// Wrappers that make their content view-once.
var viewOnceWrappers = map[string]bool{
	"viewOnceMessage": true, "viewOnceMessageV2": true, "viewOnceMessageV2Extension": true,
}

// Types whose record holds everything; all others carry the raw message.
var completeTypes = map[string]bool{"text": true, "edit": true, "revoke": true, "reaction": true, "disappearing_timer": true}

// secretEncTypes are the types of secretEncryptedMessage, by its SecretEncType.
var secretEncTypes = map[int32]string{1: "edit", 2: "edit", 4: "poll_update", 5: "poll_update"}

// textGuesses are looked for, in this order, one level deep in content of an unknown type.
var textGuesses = []protoreflect.Name{"text", "caption", "name", "title", "body", "contentText", "description", "displayName"}
